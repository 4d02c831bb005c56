//! Starting and stopping: `hmm_init`, `hmm_shutdown`, `hmm_version`. Called from ordinary threads; the runtime takes its
//! own lock.

use core::ffi::c_char;

use hmmrt_core::{Config, raw};

use crate::config::hmm_config;
use crate::guard;
use crate::sized;
use crate::status::hmm_status;

/// Starts the runtime. Optional: the first call that needs it does the same as hmm_init(NULL), which takes all settings
/// from the HMMRT_ environment variables. A variable or a field with an unknown value is HMM_ERR_CONFIG, and the message
/// names the variable and the value. When it runs already, NULL is HMM_OK, and settings are HMM_ERR_INVALID_ARGUMENT.
///
/// # Safety
/// `config` is NULL or points at config->struct_size readable bytes, and its strings are C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_init(config: *const hmm_config) -> hmm_status {
    guard::status("hmm_init", || {
        let config = if config.is_null() {
            None
        } else {
            // SAFETY: not NULL, and the caller promises the rest.
            unsafe {
                let config = sized::read("config", config)?;
                Some(config.over(Config::from_env()?)?)
            }
        };
        Ok(raw::init(config)?)
    })
}

/// Waits for what is running, brings everything home and stops the runtime. Calls of other threads that are in progress end first:
/// HMM_ERR_BUSY if one does not within 20 s, and nothing has changed. Managed memory stays readable and writable;
/// hmm_free, hmm_disown, hmm_unpin, hmm_query, hmm_stats_..., hmm_owns, hmm_usable_size, hmm_version, hmm_strerror and
/// hmm_last_error still work; every other call but hmm_init, which starts it again, then answers HMM_ERR_SHUTDOWN. Streams,
/// modules and kernels are gone.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_shutdown() -> hmm_status {
    guard::status("hmm_shutdown", || Ok(raw::shutdown()?))
}

/// The library's version, like "0.1.0": a static string.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_runtimes() {
        // SAFETY: a static C string.
        let ours = unsafe { core::ffi::CStr::from_ptr(hmm_version()) };
        assert_eq!(ours.to_str().unwrap(), hmmrt_core::version());
    }
}
