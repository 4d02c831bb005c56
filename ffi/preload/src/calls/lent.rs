//! Calls after which the kernel goes on reading the program's pages where they are: vmsplice(2) into a pipe, and sends with
//! MSG_ZEROCOPY. A page that leaves for a device is given back, and the kernel would read what others have put there since. So
//! it gets private pages with the same bytes, which are unmapped at once: they live as long as the kernel has them. Any
//! context: nothing is allocated but the mapping.

use crate::holds::{self, Holds};
use crate::{cancel, given, names};
use core::ffi::{c_int, c_long, c_uint, c_void};
use hmmrt_core::raw::mapping;
use libc::{iovec, mmsghdr, msghdr, sockaddr, socklen_t};

const PAGE: usize = 4096;
/// The kernel takes no more vectors, and no more messages.
const MOST: usize = 1024;
/// No call takes more bytes.
const MOST_BYTES: usize = 0x7fff_f000;
/// So much is offered of what is sent without waiting, however little room there is.
const LEAST_BYTES: usize = 64 << 10;

/// What a call takes.
#[derive(Clone, Copy)]
pub struct Taken {
    /// No more bytes than this.
    most: usize,
    /// What can be read up to something that can't be: else all or nothing.
    in_part: bool,
}

/// Vectors whose managed parts are in private pages.
pub struct Lent {
    mapping: usize,
    len: usize,
    /// How many vectors there are, at the mapping's start.
    pub count: usize,
}

impl Lent {
    /// The copy of what is taken; `None`: nothing has to be copied, or it is for the kernel to refuse.
    pub fn of(
        iov: *const iovec,
        count: usize,
        Taken { most, in_part }: Taken,
    ) -> Option<Result<Lent, c_int>> {
        if iov.is_null() || count > MOST {
            return None;
        }
        let vector = |i: usize| given::read(iov.wrapping_add(i));
        let is_managed = |v: &iovec| mapping::touches(v.iov_base.expose_provenance(), v.iov_len);
        let head = (count * size_of::<iovec>()).next_multiple_of(PAGE);
        let (mut any, mut len, mut left) = (false, head, most);
        for i in 0..count {
            let mut v = vector(i)?;
            v.iov_len = v.iov_len.min(left);
            left -= v.iov_len;
            if is_managed(&v) {
                any = true;
                len += (v.iov_base.addr() % PAGE + v.iov_len).next_multiple_of(PAGE);
            }
        }
        if !any {
            return None;
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory.
        let at =
            unsafe { names::bare(libc::SYS_mmap, [0, len, access as usize, kind as usize, usize::MAX, 0]) };
        if at < 0 {
            return Some(Err(-at as c_int));
        }
        let mut lent = Lent { mapping: at as usize, len, count: 0 };
        let (mut next, mut left) = (lent.mapping + head, most);
        for i in 0..count {
            let Some(mut v) = vector(i) else { break };
            v.iov_len = v.iov_len.min(left);
            let mut is_whole = true;
            if is_managed(&v) {
                // As far into its page as it was: it takes as many pages.
                let to = next + v.iov_base.addr() % PAGE;
                next += (v.iov_base.addr() % PAGE + v.iov_len).next_multiple_of(PAGE);
                if next > lent.mapping + len {
                    break; // they are changed meanwhile
                }
                let to = core::ptr::with_exposed_provenance_mut::<u8>(to);
                // SAFETY: there is room for them.
                let copied = unsafe { copy(v.iov_base.cast_const().cast(), to, v.iov_len) };
                is_whole = copied == v.iov_len;
                v = iovec { iov_base: to.cast(), iov_len: copied };
            }
            left -= v.iov_len;
            if !is_whole && (!in_part || left == most) {
                return None; // nothing is sent
            }
            // SAFETY: there is room for `count`.
            unsafe { lent.vectors().cast_mut().add(i).write(v) };
            lent.count = i + 1;
            if !is_whole {
                break;
            }
        }
        Some(Ok(lent))
    }

    /// Where the vectors are.
    pub fn vectors(&self) -> *const iovec {
        core::ptr::with_exposed_provenance(self.mapping)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody names any more.
        unsafe { names::bare(libc::SYS_munmap, [self.mapping, self.len, 0, 0, 0, 0]) };
    }
}

/// Copies the program's bytes, which are touched, and come home, up to the first page that is not there; how many.
///
/// # Safety
/// There is room for `len` bytes.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
    let mut done = 0;
    while done < len {
        let at = from.wrapping_add(done);
        let part = (PAGE - at.addr() % PAGE).min(len - done);
        if !given::can(at, part, false) {
            break;
        }
        // SAFETY: they can be read; the caller's promise.
        unsafe { core::ptr::copy(at, to.add(done), part) };
        done += part;
    }
    done
}

/// What vmsplice(2) puts into a pipe, no more than it has room for; `None` also if the descriptor is not one to write to.
pub fn into_pipe(fd: c_int, iov: *const iovec, count: usize) -> Option<Result<Lent, c_int>> {
    // SAFETY: these ask.
    let ask = |what: c_int| unsafe { names::bare(libc::SYS_fcntl, [fd as usize, what as usize, 0, 0, 0, 0]) };
    let room = ask(libc::F_GETPIPE_SZ);
    if room <= 0 || ask(libc::F_GETFL) as c_int & libc::O_ACCMODE == libc::O_RDONLY {
        return None;
    }
    Lent::of(iov, count, Taken { most: room as usize, in_part: true })
}

/// Whether a send may leave the pages with the kernel.
pub fn is_zero_copy(flags: usize) -> bool {
    flags & libc::MSG_ZEROCOPY as usize != 0
}

/// What a send takes: of a stream that does not wait no more than there is room for in the socket, or all would be copied again
/// and again.
fn sent(fd: usize, flags: usize) -> Taken {
    let option = |name: c_int| {
        let (mut value, mut len) = (0 as c_int, size_of::<c_int>() as socklen_t);
        let to = [(&raw mut value).expose_provenance(), (&raw mut len).expose_provenance()];
        let a = [fd, libc::SOL_SOCKET as usize, name as usize, to[0], to[1], 0];
        // SAFETY: it writes a number.
        (unsafe { names::bare(libc::SYS_getsockopt, a) } == 0).then_some(value)
    };
    // SCTP's streams are of messages.
    let in_part = option(libc::SO_TYPE) == Some(libc::SOCK_STREAM)
        && option(libc::SO_PROTOCOL).is_some_and(|protocol| protocol != libc::IPPROTO_SCTP);
    let never_waits = || {
        // SAFETY: this asks.
        let status = unsafe { names::bare(libc::SYS_fcntl, [fd, libc::F_GETFL as usize, 0, 0, 0, 0]) };
        flags & libc::MSG_DONTWAIT as usize != 0 || status as c_int & libc::O_NONBLOCK != 0
    };
    if !in_part || !never_waits() {
        return Taken { most: MOST_BYTES, in_part };
    }
    let mut waiting = 0 as c_int;
    let to = (&raw mut waiting).expose_provenance();
    // SAFETY: it writes a number, if the socket knows it.
    unsafe { names::bare(libc::SYS_ioctl, [fd, libc::TIOCOUTQ as usize, to, 0, 0, 0]) };
    let room = option(libc::SO_SNDBUF).unwrap_or(0).saturating_sub(waiting);
    Taken { most: (room.max(0) as usize).max(LEAST_BYTES), in_part }
}

/// The bytes of all vectors, as far as they can be read.
fn total(iov: *const iovec, count: usize) -> usize {
    let all = (0..count.min(MOST)).map_while(|i| given::read(iov.wrapping_add(i)));
    all.fold(0, |sum, v| sum.saturating_add(v.iov_len))
}

/// A call that leaves pages with the kernel, made with copies by `call`, which answers as the kernel does. `None`: it needs none.
///
/// # Safety
/// As the system call.
pub unsafe fn call(number: c_long, a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> Option<isize> {
    let with = |copy: Option<Result<Lent, c_int>>, then: &dyn Fn(&Lent) -> isize| {
        copy.map(|copy| copy.map_or_else(|error| -(error as isize), |copy| then(&copy)))
    };
    match number {
        libc::SYS_vmsplice => {
            with(into_pipe(a[0] as c_int, core::ptr::with_exposed_provenance(a[1]), a[2]), &|copy| {
                call([a[0], copy.mapping, copy.count, a[3], a[4], a[5]])
            })
        }
        libc::SYS_sendto if is_zero_copy(a[3]) => {
            let part = iovec { iov_base: core::ptr::with_exposed_provenance_mut(a[1]), iov_len: a[2] };
            with(Lent::of(&raw const part, 1, sent(a[0], a[3])), &|copy| {
                // SAFETY: it has one.
                let part = unsafe { copy.vectors().read() };
                call([a[0], part.iov_base.expose_provenance(), part.iov_len, a[3], a[4], a[5]])
            })
        }
        libc::SYS_sendmsg if is_zero_copy(a[2]) => {
            let m = given::read(core::ptr::with_exposed_provenance::<msghdr>(a[1]))?;
            with(Lent::of(m.msg_iov, m.msg_iovlen as _, sent(a[0], a[2])), &|copy| {
                let m = msghdr { msg_iov: copy.vectors().cast_mut(), msg_iovlen: copy.count as _, ..m };
                call([a[0], (&raw const m).expose_provenance(), a[2], a[3], a[4], a[5]])
            })
        }
        libc::SYS_sendmmsg if is_zero_copy(a[3]) => one_by_one(a, call),
        _ => None,
    }
}

/// sendmmsg(2): one message after the other, up to one that fails or is sent in part.
fn one_by_one(a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> Option<isize> {
    let all = core::ptr::with_exposed_provenance_mut::<mmsghdr>(a[1]);
    let mut done = 0;
    while done < (a[2] as c_uint as usize).min(MOST) {
        let at = all.wrapping_add(done);
        let Some(mut m) = given::read(at.cast_const()) else { break };
        let all_of_it = total(m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen as _);
        let copy = match Lent::of(m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen as _, sent(a[0], a[3])) {
            Some(Err(error)) if done == 0 => return Some(-(error as isize)),
            Some(Err(_)) => break,
            Some(Ok(copy)) => {
                m.msg_hdr.msg_iov = copy.vectors().cast_mut();
                m.msg_hdr.msg_iovlen = copy.count as _;
                Some(copy)
            }
            None => None,
        };
        let answer = call([a[0], (&raw mut m).expose_provenance(), 1, a[3], a[4], a[5]]);
        drop(copy);
        if answer != 1 {
            return Some(if done > 0 { done as isize } else { answer });
        }
        // SAFETY: a field of the program's, written as a touch.
        if !given::write(unsafe { &raw mut (*at).msg_len }, m.msg_len) {
            break;
        }
        done += 1;
        if (m.msg_len as usize) < all_of_it {
            break;
        }
    }
    (done > 0).then_some(done as isize)
}

/// Defines exported functions that may leave pages with the kernel, with the system call that each makes. All of their
/// arguments are passed as integers are.
macro_rules! lends {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty = $number:ident $(, $cast:expr)*;)+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name, with managed memory among its arguments held for the call, or copied if
            /// the kernel is to keep it.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
                type Real = unsafe extern "C-unwind" fn(usize, usize, usize, usize, usize, usize) -> $ret;
                let at = real::$name.address();
                if at == 0 {
                    names::set_errno(libc::ENOSYS);
                    return -1;
                }
                let mut a = [0; 6];
                for (to, word) in a.iter_mut().zip([$($cast),*]) {
                    *to = word;
                }
                // SAFETY: the function of this name; the arguments are the caller's, or copies of them.
                unsafe {
                    let f: Real = core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    cancel::deferred(|kind| {
                        let make = |a: [usize; 6]| {
                            match cancel::as_it_was(kind, || f(a[0], a[1], a[2], a[3], a[4], a[5])) {
                                -1 => -(names::errno() as isize),
                                answer => answer as isize,
                            }
                        };
                        let held = |a: [usize; 6]| {
                            let hold = |h: &mut Holds| super::table::hold(h, libc::$number, a);
                            let always = super::number::is_made_once(libc::$number);
                            holds::around(always, hold, || make(a), |answer| *answer == -(libc::EFAULT as isize))
                        };
                        names::answer(call(libc::$number, a, held).unwrap_or_else(|| held(a))) as $ret
                    })
                }
            }
        )+
    };
}

lends! {
    fn vmsplice(fd: c_int, iov: *const iovec, n: usize, flags: c_uint) -> isize = SYS_vmsplice,
        fd as usize, iov.expose_provenance(), n, flags as usize;
    fn send(fd: c_int, buf: *const c_void, n: usize, flags: c_int) -> isize = SYS_sendto,
        fd as usize, buf.expose_provenance(), n, flags as usize;
    fn sendto(fd: c_int, buf: *const c_void, n: usize, flags: c_int, to: *const sockaddr, len: socklen_t) -> isize = SYS_sendto,
        fd as usize, buf.expose_provenance(), n, flags as usize, to.expose_provenance(), len as usize;
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> isize = SYS_sendmsg,
        fd as usize, message.expose_provenance(), flags as usize;
    fn sendmmsg(fd: c_int, all: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int = SYS_sendmmsg,
        fd as usize, all.expose_provenance(), n as usize, flags as usize;
}
