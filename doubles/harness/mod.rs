//! What the tests of both doubles share: building and loading the library, and running a test in a process of its own.

#[path = "cdylib.rs"]
mod cdylib;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, thread};

/// The library of the test's own package, current.
pub fn build(library: &str) -> PathBuf {
    cdylib::build(".").join(library)
}

/// Tests of one process take turns: counters, failures and memory in use are the process's.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the calling test in a process of its own with these settings. True in that process, where the test does its work.
pub fn child(settings: &[(&str, &str)]) -> bool {
    const CHILD: &str = "HMMRT_DOUBLE_TEST_CHILD";
    let name = thread::current().name().expect("a test has a name").to_owned();
    if env::var(CHILD).is_ok_and(|child| child == name) {
        return true;
    }
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args([&name, "--exact", "--test-threads=1", "--nocapture"]);
    command.env(CHILD, &name).envs(settings.iter().copied());
    let output = command.output().expect("the test's own process");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
    false
}

/// The library's functions, as methods that are safe to write: tests pass what the functions want.
#[macro_export]
macro_rules! functions {
    ($driver:ident from $library:literal: $($name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        /// The loaded library.
        #[allow(non_snake_case, reason = "the driver's names")]
        pub struct $driver { $($name: unsafe extern "C" fn($($kind),*) -> $result,)* }

        #[allow(non_snake_case, clippy::too_many_arguments, reason = "the driver's names")]
        impl $driver {
            fn load() -> $driver {
                let path = $crate::common::harness::build($library);
                // SAFETY: the library has no initialisers to speak of, and is never unloaded.
                let library = unsafe { libloading::Library::new(&path) }.expect("the library");
                let loaded = $driver { $($name: {
                    // SAFETY: the declarations are the driver's.
                    *unsafe { library.get::<unsafe extern "C" fn($($kind),*) -> $result>(
                        concat!(stringify!($name), "\0").as_bytes(),
                    ) }.expect(stringify!($name))
                },)* };
                std::mem::forget(library);
                loaded
            }

            $(
                #[allow(missing_docs, dead_code, reason = "the driver's; each test program uses some")]
                pub fn $name(&self, $($arg: $kind),*) -> $result {
                    // SAFETY: the tests pass what the driver's documentation asks for.
                    unsafe { (self.$name)($($arg),*) }
                }
            )*

            /// How often a function was called.
            #[allow(dead_code, reason = "each test program uses some")]
            pub fn calls(&self, name: &str) -> u64 {
                self.hmmrt_double_calls(std::ffi::CString::new(name).unwrap().as_ptr())
            }

            /// Arms failures.
            #[allow(dead_code, reason = "each test program uses some")]
            pub fn arm(&self, spec: &str) {
                assert_eq!(self.hmmrt_double_arm(std::ffi::CString::new(spec).unwrap().as_ptr()), 0, "{spec}");
            }
        }
    };
}
