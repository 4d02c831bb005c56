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

/// Whether a call with this descriptor would wait. What has no such state is always ready.
fn would_wait(fd: c_int) -> bool {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let (at, time) = ((&raw mut one).expose_provenance(), libc::timespec { tv_sec: 0, tv_nsec: 0 });
    let a = [at, 1, (&raw const time).expose_provenance(), 0, 8, 0];
    // SAFETY: one descriptor and a time; the other asks.
    unsafe {
        names::bare(libc::SYS_ppoll, a) == 0
            && names::bare(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) as c_int
                & libc::O_NONBLOCK
                == 0
    }
}

/// Memory of a call's own, until it is dropped.
struct Own(*mut c_void, usize);

impl Own {
    fn new(n: usize) -> Option<Own> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let a = [0, n, (libc::PROT_READ | libc::PROT_WRITE) as usize, flags as usize, usize::MAX, 0];
        // SAFETY: new memory.
        let at = unsafe { names::bare(libc::SYS_mmap, a) };
        (at > 0).then(|| Own(core::ptr::with_exposed_provenance_mut(at as usize), n))
    }
}
impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        unsafe { names::bare(libc::SYS_munmap, [self.0.expose_provenance(), self.1, 0, 0, 0, 0]) };
    }
}

/// Whether memory of the program's is there to be written; then `from` is copied there, if it is not NULL.
fn give<T>(to: *mut T, from: *const T, len: usize) -> bool {
    let copy = || {
        let can = preload::is_accessible(to.cast(), len, true);
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
    let mut apart = places;
    let is_apart = waits
        && would_wait(fd)
        && (places.from.is_null() || {
            room = given::read(places.len.cast_const()).map_or(-1, |len| len as c_int);
            room >= 0
                && give(places.len, core::ptr::null(), size_of::<socklen_t>())
                && give(places.from.cast::<u8>(), core::ptr::null(), room as usize)
        })
        && (places.n == 0 || {
            own = Own::new(places.n);
            own.is_some()
        });
    names::set_errno(saved);
    if !is_apart {
        return as_it_is();
    }
    let room = (room as usize).min(NAME);
    let (mut name, mut len) = (MaybeUninit::<sockaddr_storage>::uninit(), room as socklen_t);
    if let Some(own) = &own {
        apart.buf = own.0;
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
    let is_given = own.is_none_or(|own| give(places.buf, own.0, places.n.min(answer as usize)));
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
            may_wait(a[3] as c_int),
        ),
        libc::SYS_accept | libc::SYS_accept4 => (Places::name(at(a[1]).cast(), at(a[2]).cast()), true),
        _ => return None,
    };
    if places.stay() {
        return None;
    }
    let answer = receive(a[0] as c_int, waits, places, |p| {
        let (buf, from, len) =
            (p.buf.expose_provenance(), p.from.expose_provenance(), p.len.expose_provenance());
        match number {
            libc::SYS_read => call([a[0], buf, a[2], a[3], a[4], a[5]]),
            libc::SYS_recvfrom => call([a[0], buf, a[2], a[3], from, len]),
            _ => call([a[0], from, len, a[3], a[4], a[5]]),
        }
    });
    Some(answer.unwrap_or(-(libc::EFAULT as isize)))
}

/// Whether flags of recv(2) let it wait.
fn may_wait(flags: c_int) -> bool {
    flags & libc::MSG_DONTWAIT == 0
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
                    if places.stay() {
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
    fn read(buf: *mut c_void, n: usize) -> isize = Places::bytes(buf, n), true, |p| [p.buf, n];
    fn __read_chk(buf: *mut c_void, n: usize, room: usize) -> isize = Places::bytes(buf, n), true, |p| [p.buf, n, room];
    fn recv(buf: *mut c_void, n: usize, flags: c_int) -> isize = Places::bytes(buf, n), may_wait(flags), |p| [p.buf, n, flags];
    fn __recv_chk(buf: *mut c_void, n: usize, room: usize, flags: c_int) -> isize =
        Places::bytes(buf, n), may_wait(flags), |p| [p.buf, n, room, flags];
    fn recvfrom(buf: *mut c_void, n: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t) -> isize =
        Places { buf, n, from, len }, may_wait(flags), |p| [p.buf, n, flags, p.from, p.len];
    fn __recvfrom_chk(
        buf: *mut c_void, n: usize, room: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t,
    ) -> isize = Places { buf, n, from, len }, may_wait(flags), |p| [p.buf, n, room, flags, p.from, p.len];
    fn accept(from: *mut sockaddr, len: *mut socklen_t) -> c_int = Places::name(from, len), true, |p| [p.from, p.len];
    fn accept4(from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int =
        Places::name(from, len), true, |p| [p.from, p.len, flags];
}
