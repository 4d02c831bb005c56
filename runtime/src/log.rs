//! Messages for people, on standard error, by level (`HMMRT_LOG`). Not for the fault path, which uses `sys::stderr`.

use crate::config::LogLevel;
use core::sync::atomic::{AtomicU8, Ordering::*};

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Warn as u8);

/// Sets what is shown.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Relaxed);
}

/// Whether messages of `level` are shown.
pub(crate) fn shows(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// Writes one line.
pub(crate) fn line(level: LogLevel, text: core::fmt::Arguments<'_>) {
    crate::sys::stderr::write_all(format!("hmmrt {}: {text}\n", level.name()).as_bytes());
}

/// `log!(Warn, "...")`
macro_rules! log {
    ($level:ident, $($text:tt)+) => {
        if $crate::log::shows($crate::config::LogLevel::$level) {
            $crate::log::line($crate::config::LogLevel::$level, format_args!($($text)+));
        }
    };
}
pub(crate) use log;
