//! The message of this thread's last failing call. A fixed thread-local buffer without a destructor, so that recording
//! "out of memory" allocates nothing and a thread that is ending can still fail. Called by `guard`, in no signal handler.

use core::cell::RefCell;
use core::ffi::c_char;
use core::fmt::{self, Write};
use std::io;

/// Longer messages are cut; the runtime's longest is under 300 bytes.
const CAPACITY: usize = 512;

pub(crate) struct Message {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Message {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or("?")
    }

    /// Sets "function: what". The runtime begins some messages with the call's name; it is not said twice.
    pub(crate) fn set(&mut self, function: &str, what: &dyn fmt::Display) {
        self.len = 0;
        let _ = write!(self, "{function}: ");
        let prefix = self.len;
        let _ = write!(self, "{what}");
        let twice = self.as_str()[prefix..].starts_with(&self.as_str()[..prefix]);
        if twice {
            self.bytes.copy_within(prefix..self.len, 0);
            self.len -= prefix;
        }
    }
}

impl Write for Message {
    /// Appends what fits, cut at a character's boundary; never fails.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut take = text.len().min(CAPACITY - self.len);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.bytes[self.len..self.len + take].copy_from_slice(&text.as_bytes()[..take]);
        self.len += take;
        Ok(())
    }
}

thread_local! {
    static LAST: RefCell<Message> = const { RefCell::new(Message::new()) };
}

/// Records the message of a failing call, here and in the log if `log` says so (one line, one write).
pub(crate) fn record(function: &str, what: &dyn fmt::Display, log: bool) {
    LAST.with_borrow_mut(|last| {
        last.set(function, what);
        if log {
            let mut line = Message::new();
            let _ = writeln!(line, "hmmrt: {}", last.as_str());
            // Nothing can be done about a closed stderr, and `eprintln!` would panic.
            let _ = io::Write::write_all(&mut io::stderr(), line.as_str().as_bytes());
        }
    });
}

/// The message of this thread's last call that failed, as "function: argument: what is wrong". Writes at most `n` bytes
/// to `buf`, the last of them NUL, and returns the length of the whole message without the NUL (like snprintf): a result of
/// `n` or more was cut. With `n` = 0 `buf` may be NULL. Empty when nothing has failed yet; a call that succeeds leaves it.
///
/// # Safety
/// `buf` is NULL or has room for `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_last_error(buf: *mut c_char, n: usize) -> usize {
    let Some(message) =
        LAST.try_with(|last| last.try_borrow().ok().map(|last| (last.bytes, last.len))).ok().flatten()
    else {
        return 0;
    };
    let (bytes, len) = message;
    if !buf.is_null() && n > 0 {
        let take = len.min(n - 1);
        // SAFETY: `take < n` bytes and the NUL fit, as the caller promises; `bytes` is a local copy.
        unsafe {
            buf.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), take);
            buf.add(take).write(0);
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(n: usize) -> (usize, String) {
        let mut buf = vec![0x7f_u8; n + 1];
        // SAFETY: the buffer has room for `n` bytes.
        let len = unsafe { hmm_last_error(buf.as_mut_ptr().cast(), n) };
        assert_eq!(buf[n], 0x7f, "wrote past the end");
        let end = buf.iter().position(|b| *b == 0).unwrap_or(0);
        (len, String::from_utf8(buf[..end].to_vec()).unwrap())
    }

    #[test]
    fn it_is_cut_like_snprintf() {
        record("hmm_test", &"ptr: is NULL", false);
        let whole = "hmm_test: ptr: is NULL";
        assert_eq!(read(100), (whole.len(), whole.into()));
        assert_eq!(read(whole.len() + 1), (whole.len(), whole.into()));
        assert_eq!(read(whole.len()), (whole.len(), whole[..whole.len() - 1].into()));
        assert_eq!(read(1), (whole.len(), String::new()));
        assert_eq!(read(0), (whole.len(), String::new()));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { hmm_last_error(core::ptr::null_mut(), 0) }, whole.len());
    }

    #[test]
    fn it_is_the_threads_own() {
        record("hmm_test", &"one", false);
        std::thread::spawn(|| {
            assert_eq!(read(64), (0, String::new()));
            record("hmm_test", &"two", false);
        })
        .join()
        .unwrap();
        assert_eq!(read(64).1, "hmm_test: one");
    }

    #[test]
    fn the_calls_name_is_said_once() {
        record("hmm_malloc", &"hmm_malloc: called after hmm_shutdown", false);
        assert_eq!(read(64).1, "hmm_malloc: called after hmm_shutdown");
        record("hmm_malloc", &"hmm_malloc", false);
        assert_eq!(read(64).1, "hmm_malloc: hmm_malloc");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        record("hmm_test", &"é".repeat(CAPACITY), false);
        let (len, text) = read(2 * CAPACITY);
        assert!(len <= CAPACITY && len == text.len(), "{len}");
        assert!(text.ends_with('é'));
    }
}
