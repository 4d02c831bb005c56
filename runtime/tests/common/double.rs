//! The driver doubles: building them, running a case on one, and their control functions.

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The backends that there are doubles for.
pub const KINDS: [&str; 2] = ["cuda", "hip"];

/// The double of a backend's driver: built by cargo where this test came from.
pub fn library(kind: &str) -> PathBuf {
    cdylib::build(&format!("../doubles/{kind}")).join(format!("libhmmrt_double_{kind}.so"))
}

/// The variable that names a backend's driver.
pub fn variable(kind: &str) -> &'static str {
    if kind == "cuda" { "HMMRT_CUDA_LIBRARY" } else { "HMMRT_HIP_LIBRARY" }
}

/// The command that runs a case without the caller's settings.
pub fn case_command(case: &str) -> Command {
    let mut command = super::case_command("cases", case);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HMMRT_") && !text.starts_with("HMMRT_TEST") {
            command.env_remove(&name);
        }
    }
    command.env("HMMRT_CASE", case);
    command
}

/// Runs a case on the double of `kind`, without the caller's settings but with these.
pub fn run_case(kind: &str, library: &Path, name: &str, env: &[(&str, &str)]) -> Output {
    let mut command = case_command(name);
    command.env("HMMRT_BACKEND", kind).env(variable(kind), library);
    command.env("HMMRT_CASE_LIBRARY", library).env("HMMRT_CASE_KIND", kind);
    command.envs(env.iter().copied()).output().unwrap()
}

/// The double that this process runs on.
pub struct Double {
    library: libloading::Library,
    /// `cuda` or `hip`.
    pub kind: String,
}

impl Double {
    /// The one that the case was started with.
    pub fn of_case() -> Double {
        let path = std::env::var_os("HMMRT_CASE_LIBRARY").unwrap();
        Double::open(&std::env::var("HMMRT_CASE_KIND").unwrap(), path.as_ref())
    }

    /// The double at `path`.
    pub fn open(kind: &str, path: &Path) -> Double {
        // SAFETY: the double's constructors do nothing of note.
        let library = unsafe { libloading::Library::new(path).unwrap() };
        Double { library, kind: kind.to_owned() }
    }

    /// A function by its name.
    pub fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: the tests ask for functions with their own types.
        unsafe { *self.library.get::<F>(name.as_bytes()).unwrap() }
    }

    /// The name of the function with these names in CUDA and HIP.
    pub fn name(&self, cuda: &'static str, hip: &'static str) -> &'static str {
        if self.kind == "cuda" { cuda } else { hip }
    }

    /// Sets what fails, and counts anew.
    pub fn arm(&self, spec: &str) {
        let arm: unsafe extern "C" fn(*const c_char) -> c_int = self.function("hmmrt_double_arm");
        let spec = CString::new(spec).unwrap();
        // SAFETY: a text that ends.
        assert_eq!(unsafe { arm(spec.as_ptr()) }, 0, "{spec:?}");
    }

    /// How often a function was called, by its CUDA or HIP name.
    pub fn calls(&self, cuda: &'static str, hip: &'static str) -> u64 {
        let calls: unsafe extern "C" fn(*const c_char) -> u64 = self.function("hmmrt_double_calls");
        let name = CString::new(self.name(cuda, hip)).unwrap();
        // SAFETY: a text that ends.
        unsafe { calls(name.as_ptr()) }
    }

    /// All functions that were called, and how often.
    pub fn all_calls(&self) -> Vec<(String, u64)> {
        let list: unsafe extern "C" fn(*mut c_char, usize) -> usize =
            self.function("hmmrt_double_call_names");
        let mut text = vec![0u8; 64 << 10];
        // SAFETY: the buffer's own size.
        let n = unsafe { list(text.as_mut_ptr().cast(), text.len()) };
        let text = String::from_utf8(text[..n.min(text.len())].to_vec()).unwrap();
        let pair = |line: &str| {
            let (name, n) = line.trim_end_matches('\0').split_once(' ')?;
            Some((name.to_owned(), n.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }

    /// How many calls have failed since [`Double::arm`].
    pub fn failed(&self) -> u64 {
        let failed: unsafe extern "C" fn() -> u64 = self.function("hmmrt_double_failed");
        // SAFETY: takes nothing.
        unsafe { failed() }
    }

    /// Bytes of a device's memory in use.
    pub fn used(&self, device: i32) -> u64 {
        let used: unsafe extern "C" fn(c_int) -> u64 = self.function("hmmrt_double_used");
        // SAFETY: takes any number.
        unsafe { used(device) }
    }
}
