//! Calls that wait for bytes, or for somebody: read, recv, recvfrom and accept. Where nothing is there yet, they wait with memory of
//! their own in the place of managed memory, and what has come is copied: a device may have the program's meanwhile. What is there
//! already is received with the program's memory held. Nothing is received twice. Any context.

use crate::holds::{self, Holds, stays};
use crate::{cancel, given, names};
use core::ffi::{c_int, c_long, c_void};
use core::mem::MaybeUninit;
use hmmrt_core::raw::preload;
use libc::{sockaddr, sockaddr_storage, socklen_t};

/// No name of a socket has more bytes.
const NAME: usize = size_of::<sockaddr_storage>();

/// Where a call puts what arrives, and from whom; NULL where it has no such place.
#[derive(Clone, Copy)]
struct Places {
    buf: *mut c_void,
    n: usize,
    from: *mut sockaddr,
    len: *mut socklen_t,
}

impl Places {
    /// Of a call that has `buf` only.
    const fn bytes(buf: *mut c_void, n: usize) -> Places {
        Places { buf, n, from: core::ptr::null_mut(), len: core::ptr::null_mut() }
    }

    /// Of a call that has a name only.
    const fn name(from: *mut sockaddr, len: *mut socklen_t) -> Places {
        Places { buf: core::ptr::null_mut(), n: 0, from, len }
    }

    /// Whether none of it is managed.
    #[inline]
    fn stay(&self) -> bool {
        stays(self.buf, self.n) && stays(self.from, NAME) && stays(self.len, size_of::<socklen_t>())
    }

    fn hold(&self, h: &mut Holds) {
        h.writes(self.buf, self.n);
        // SAFETY: a place for a length or NULL, by the program's promise.
        unsafe { h.answer(self.from.cast(), self.len) };
    }
}

/// How a call with this descriptor waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Not now: something is there, or what has no such state, or by its flags it never does.
    Not,
    /// For a pipe, which gives no more at once than it has room for.
    ForPipe,
    ForOther,
}

fn waiting(fd: c_int) -> Waiting {
    let mut file = MaybeUninit::<libc::stat>::uninit();
    let a = [fd as usize, file.as_mut_ptr().expose_provenance(), 0, 0, 0, 0];
    // SAFETY: the kernel writes what is named; it has written all of it where it says so.
    let kind = unsafe {
        match names::bare(libc::SYS_fstat, a) {
            0 => file.assume_init_ref().st_mode & libc::S_IFMT,
            _ => return Waiting::Not,
        }
    };
    // Some of /proc tell of each event to one who asks only.
    if kind == libc::S_IFREG {
        return Waiting::Not;
    }
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let (at, time) = ((&raw mut one).expose_provenance(), libc::timespec { tv_sec: 0, tv_nsec: 0 });
    let a = [at, 1, (&raw const time).expose_provenance(), 0, 8, 0];
    // SAFETY: one descriptor and a time; the other asks.
    let waits = unsafe {
        names::bare(libc::SYS_ppoll, a) == 0
            && names::bare(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) as c_int
                & libc::O_NONBLOCK
                == 0
    };
    match (waits, kind) {
        (false, _) => Waiting::Not,
        (true, libc::S_IFIFO) => Waiting::ForPipe,
        (true, _) => Waiting::ForOther,
    }
}

/// So many bytes are on the stack.
const FEW: usize = 512;
/// What a pipe has room for by default; so many bytes at least are what a wait for all of them is worth holding for.
const MANY: usize = 64 << 10;

/// Memory of a call's own, until it is dropped.
struct Own(*mut c_void, usize);

impl Own {
    fn new(n: usize) -> Option<Own> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let a = [0, n, (libc::PROT_READ | libc::PROT_WRITE) as usize, flags as usize, usize::MAX, 0];
        // SAFETY: new memory.
        let at = unsafe { names::bare(libc::SYS_mmap, a) };
        if at <= 0 {
            return None;
        }
        let at = at as usize;
        // SAFETY: as above. A byte that comes is not to take a huge page.
        unsafe { names::bare(libc::SYS_madvise, [at, n, libc::MADV_NOHUGEPAGE as usize, 0, 0, 0]) };
        Some(Own(core::ptr::with_exposed_provenance_mut(at), n))
    }
}
impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        unsafe { names::bare(libc::SYS_munmap, [self.0.expose_provenance(), self.1, 0, 0, 0, 0]) };
    }
}

/// Whether all of it can be written: asked at once where it is more than a few pages, if the kernel can (Linux 5.14).
fn can_write(at: *const u8, len: usize) -> bool {
    const PAGE: usize = 4096;
    const POPULATE_WRITE: usize = 23;
    let start = at.addr() & !(PAGE - 1);
    let a = [start, (at.addr() - start).saturating_add(len), POPULATE_WRITE, 0, 0, 0];
    // SAFETY: pages of the program's, which are to be written, are had before; what they hold stays.
    len > 4 * PAGE && unsafe { names::bare(libc::SYS_madvise, a) } == 0
        || preload::is_accessible(at, len, true)
}

/// Whether memory of the program's is there to be written; then `from` is copied there, if it is not NULL.
fn give<T>(to: *mut T, from: *const T, len: usize) -> bool {
    let copy = || {
        let can = can_write(to.cast_const().cast(), len);
        if can && !from.is_null() {
            // SAFETY: both can be accessed, and one is ours.
            unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), len) };
        }
        can
    };
    len == 0 || holds::around(true, |h| h.writes(to, len), copy, |_| false)
}

/// Makes a call that puts what arrives into `places`, by `call` with these or others; what it answers is negative if nothing has.
/// `None`: it could not be given to the program. `waits`: by its flags it may.
fn receive(fd: c_int, waits: bool, places: Places, call: impl Fn(Places) -> isize) -> Option<isize> {
    // What the kernel has to refuse is held, too.
    let as_it_is = || Some(holds::around(true, |h| places.hold(h), || call(places), |_| false));
    let saved = names::errno();
    let (mut room, mut own) = (0, None);
    let mut few = MaybeUninit::<[u8; FEW]>::uninit();
    let mut apart = places;
    let waiting = if waits { waiting(fd) } else { Waiting::Not };
    if waiting == Waiting::ForPipe && places.n > MANY {
        // SAFETY: this asks.
        let room =
            unsafe { names::bare(libc::SYS_fcntl, [fd as usize, libc::F_GETPIPE_SZ as usize, 0, 0, 0, 0]) };
        apart.n = apart.n.min(room.max(MANY as isize) as usize);
    }
    let is_apart = waiting != Waiting::Not
        && (places.from.is_null() || {
            room = given::read(places.len.cast_const()).map_or(-1, |len| len as c_int);
            room >= 0
                && give(places.len, core::ptr::null(), size_of::<socklen_t>())
                && give(places.from.cast::<u8>(), core::ptr::null(), room as usize)
        })
        && (apart.n <= FEW || {
            own = Own::new(apart.n);
            own.is_some()
        });
    names::set_errno(saved);
    if !is_apart {
        return as_it_is();
    }
    let room = (room as usize).min(NAME);
    let (mut name, mut len) = (MaybeUninit::<sockaddr_storage>::uninit(), room as socklen_t);
    if apart.n > 0 {
        apart.buf = own.as_ref().map_or(few.as_mut_ptr().cast(), |own| own.0);
    }
    if !places.from.is_null() {
        apart.from = name.as_mut_ptr().cast();
        apart.len = &raw mut len;
    }
    let answer = call(apart);
    if answer < 0 {
        return Some(answer);
    }
    let saved = names::errno();
    let is_given = apart.n == 0 || give(places.buf, apart.buf, apart.n.min(answer as usize));
    if !places.from.is_null() {
        give(places.from.cast::<u8>(), name.as_ptr().cast(), room.min(len as usize));
        give(places.len, &raw const len, size_of::<socklen_t>());
    }
    names::set_errno(saved);
    is_given.then_some(answer)
}

/// The same by number. `None`: it is another call, or nothing of it is managed.
pub fn by_number(number: c_long, a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> Option<isize> {
    let at = core::ptr::with_exposed_provenance_mut::<c_void>;
    let (places, waits) = match number {
        libc::SYS_read => (Places::bytes(at(a[1]), a[2]), true),
        libc::SYS_recvfrom => (
            Places { buf: at(a[1]), n: a[2], from: at(a[4]).cast(), len: at(a[5]).cast() },
            may_wait(a[3] as c_int, a[2]),
        ),
        libc::SYS_accept | libc::SYS_accept4 => (Places::name(at(a[1]).cast(), at(a[2]).cast()), true),
        _ => return None,
    };
    if places.stay() || holds::is_confined() {
        return None;
    }
    let answer = receive(a[0] as c_int, waits, places, |p| {
        let (buf, from, len) =
            (p.buf.expose_provenance(), p.from.expose_provenance(), p.len.expose_provenance());
        match number {
            libc::SYS_read => call([a[0], buf, p.n, a[3], a[4], a[5]]),
            libc::SYS_recvfrom => call([a[0], buf, p.n, a[3], from, len]),
            _ => call([a[0], from, len, a[3], a[4], a[5]]),
        }
    });
    Some(answer.unwrap_or(-(libc::EFAULT as isize)))
}

/// Whether flags of recv(2) let it wait with other memory: of a stream, what is left out (MSG_TRUNC) is not written at all. Where all of
/// much memory is waited for, as much would be taken again.
fn may_wait(flags: c_int, n: usize) -> bool {
    flags & (libc::MSG_DONTWAIT | libc::MSG_TRUNC) == 0 && (flags & libc::MSG_WAITALL == 0 || n <= MANY)
}

/// Defines exported functions that wait for what arrives: where it is put, whether by their flags they wait, and how those of the
/// arguments are called.
macro_rules! arrives {
    ($(
        fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty = $places:expr, $waits:expr, |$p:ident| [$($given:expr),*];
    )+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name; what arrives in managed memory is waited for elsewhere.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name(fd: c_int, $($arg: $type),*) -> $ret {
                let at = real::$name.address();
                if at == 0 {
                    names::set_errno(libc::ENOSYS);
                    return -1;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's, or stand for them.
                unsafe {
                    let f: unsafe extern "C-unwind" fn(c_int, $($type),*) -> $ret =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    let places = $places;
                    if places.stay() || holds::is_confined() {
                        return f(fd, $($arg),*);
                    }
                    cancel::deferred(|kind| {
                        let call = |$p: Places| cancel::as_it_was(kind, || f(fd, $($given),*)) as isize;
                        receive(fd, $waits, places, call).unwrap_or_else(|| {
                            names::set_errno(libc::EFAULT);
                            -1
                        }) as $ret
                    })
                }
            }
        )+
    };
}

arrives! {
    fn read(buf: *mut c_void, n: usize) -> isize = Places::bytes(buf, n), true, |p| [p.buf, p.n];
    fn __read_chk(buf: *mut c_void, n: usize, room: usize) -> isize = Places::bytes(buf, n), true, |p| [p.buf, p.n, room];
    fn recv(buf: *mut c_void, n: usize, flags: c_int) -> isize = Places::bytes(buf, n), may_wait(flags, n), |p| [p.buf, p.n, flags];
    fn __recv_chk(buf: *mut c_void, n: usize, room: usize, flags: c_int) -> isize =
        Places::bytes(buf, n), may_wait(flags, n), |p| [p.buf, p.n, room, flags];
    fn recvfrom(buf: *mut c_void, n: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t) -> isize =
        Places { buf, n, from, len }, may_wait(flags, n), |p| [p.buf, p.n, flags, p.from, p.len];
    fn __recvfrom_chk(
        buf: *mut c_void, n: usize, room: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t,
    ) -> isize = Places { buf, n, from, len }, may_wait(flags, n), |p| [p.buf, p.n, room, flags, p.from, p.len];
    fn accept(from: *mut sockaddr, len: *mut socklen_t) -> c_int = Places::name(from, len), true, |p| [p.from, p.len];
    fn accept4(from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int =
        Places::name(from, len), true, |p| [p.from, p.len, flags];
}
