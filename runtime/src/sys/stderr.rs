//! Messages without allocation or locks: write(2) to standard error from a stack buffer. Signal-safe.

/// A line of text built on the stack, cut when it is full. Signal-safe.
pub(crate) struct Line {
    buf: [u8; 256],
    len: usize,
}

impl Line {
    /// Starts a line with the library's name.
    pub(crate) fn new() -> Line {
        Line { buf: [0; 256], len: 0 }.text("hmmrt: ")
    }
    /// Adds text.
    pub(crate) fn text(mut self, s: &str) -> Line {
        for &b in s.as_bytes() {
            if self.len < self.buf.len() - 1 {
                self.buf[self.len] = b;
                self.len += 1;
            }
        }
        self
    }
    /// Adds a number in hexadecimal.
    pub(crate) fn hex(mut self, v: usize) -> Line {
        self = self.text("0x");
        let digits = (usize::BITS - v.leading_zeros()).div_ceil(4).max(1);
        for i in (0..digits).rev() {
            let d = b"0123456789abcdef"[v >> (i * 4) & 15];
            self = self.text(core::str::from_utf8(&[d]).unwrap_or("?"));
        }
        self
    }
    /// Adds a number in decimal.
    pub(crate) fn number(mut self, v: i32) -> Line {
        if v < 0 {
            self = self.text("-");
        }
        let mut divisor = 1_000_000_000;
        while divisor > 1 && v.unsigned_abs() / divisor == 0 {
            divisor /= 10;
        }
        while divisor > 0 {
            let digit = b'0' + (v.unsigned_abs() / divisor % 10) as u8;
            self = self.text(core::str::from_utf8(&[digit]).unwrap_or("?"));
            divisor /= 10;
        }
        self
    }
    /// Writes the line.
    pub(crate) fn write(mut self) {
        self.buf[self.len] = b'\n';
        write_all(&self.buf[..self.len + 1]);
    }
}

/// Writes bytes to standard error; errors are ignored, errno is kept. A thread with descriptors of its own has none, and asks for
/// the process's. Signal-safe.
pub(crate) fn write_all(bytes: &[u8]) {
    let saved = super::errno();
    if !write(2, bytes) && super::errno() == libc::EBADF {
        let (at, flags) =
            (libc::AT_FDCWD as usize, (libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC) as usize);
        let path = c"/proc/self/fd/2".as_ptr().expose_provenance();
        // SAFETY: a C string.
        let fd = unsafe { super::kernel::raw(libc::SYS_openat, [at, path, flags, 0, 0, 0]) };
        if fd >= 0 {
            write(fd as i32, bytes);
            super::close(fd as i32);
        }
    }
    super::set_errno(saved);
}

fn write(fd: i32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let n = super::kernel::write(fd, bytes);
        if n <= 0 {
            return false;
        }
        bytes = &bytes[n as usize..];
    }
    true
}

/// A broken invariant of ours: writes the facts and aborts. Signal-safe.
pub(crate) fn fatal(what: &str, addr: usize) -> ! {
    Line::new().text("internal error: ").text(what).text(" at ").hex(addr).write();
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_out() {
        for n in [0, 7, 10, 4095, 1_000_000_000, i32::MAX, -1, -30, i32::MIN] {
            let line = Line::new().number(n);
            assert_eq!(core::str::from_utf8(&line.buf[..line.len]), Ok(&*format!("hmmrt: {n}")));
        }
    }
}
