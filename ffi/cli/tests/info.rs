//! `hmmrt info`, as text and as JSON: on the host backend, over the double of a driver, and where there is none.

mod common;

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;

use common::{done, good, hmmrt, library};
use serde_json::Value;
use std::process::Command;

fn json(command: &mut Command) -> Value {
    let text = good(command.args(["info", "--json"]));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The command, where no GPU is found whatever this machine has.
fn no_gpu() -> Command {
    let mut command = hmmrt();
    command.env("HMMRT_CUDA_LIBRARY", "/no/driver").env("HMMRT_HIP_LIBRARY", "/no/driver");
    command
}

fn backend<'a>(info: &'a Value, name: &str) -> &'a Value {
    let list = info["backend"]["list"].as_array().unwrap();
    list.iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn without_a_gpu_it_is_the_host_backend() {
    let info = json(no_gpu().env("HMMRT_HOST_DEVICES", "2").env("HMMRT_HOST_MEMORY", "64M"));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&info["backend"]["setting"], &info["backend"]["chosen"]), (&"auto".into(), &"host".into()));
    let names: Vec<_> = info["backend"]["list"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["cuda", "hip", "host"]);
    for name in ["cuda", "hip"] {
        let one = backend(&info, name);
        assert!(one["error"].is_string() && one["devices"].as_array().unwrap().is_empty(), "{one}");
    }
    let devices = backend(&info, "host")["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[1]["memory_total"], 64 << 20);
    assert_eq!(devices[1]["same_address"], false);
    assert!(devices[0]["name"].as_str().unwrap().contains("stand-in"));
}

#[test]
fn a_backend_that_can_not_be_used_is_not_chosen() {
    let info = json(no_gpu().env("HMMRT_BACKEND", "cuda"));
    assert_eq!((&info["backend"]["setting"], &info["backend"]["chosen"]), (&"cuda".into(), &Value::Null));
    let text = good(no_gpu().env("HMMRT_BACKEND", "cuda").arg("info"));
    assert!(text.contains("HMMRT_BACKEND=cuda, which can't be used here"), "{text}");
}

#[test]
fn over_the_double_of_a_driver() {
    let double = cdylib::build("../../doubles/cuda").join("libhmmrt_double_cuda.so");
    for setting in ["cuda", "auto"] {
        let mut command = no_gpu();
        command.env("HMMRT_BACKEND", setting).env("HMMRT_CUDA_LIBRARY", &double);
        let info = json(command.env("HMMRT_DOUBLE_MEMORY", "256M"));
        assert_eq!(
            (&info["backend"]["setting"], &info["backend"]["chosen"]),
            (&setting.into(), &"cuda".into())
        );
        let devices = backend(&info, "cuda")["devices"].as_array().unwrap();
        assert_eq!(devices.len(), 2, "{info}");
        assert_eq!(devices[0]["name"], "libhmmrt CUDA double 0");
        assert_eq!(devices[0]["memory_total"], 256 << 20);
        assert_eq!(devices[0]["same_address"], true);
        assert_eq!(backend(&info, "host")["devices"][0]["same_address"], Value::Null);
        let mut command = no_gpu();
        let text = good(command.env("HMMRT_CUDA_LIBRARY", &double).env("HMMRT_BACKEND", setting).arg("info"));
        for words in
            ["cuda is used", "  * cuda", "libhmmrt CUDA double 1", "the same addresses as on the host"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let mut command = no_gpu();
    let info = json(command.env("HMMRT_CUDA_LIBRARY", &double).env("HMMRT_SAME_ADDRESS", "0"));
    assert_eq!(backend(&info, "cuda")["devices"][0]["same_address"], false);
    // A driver that does not start says why.
    let mut command = no_gpu();
    let info = json(command.env("HMMRT_CUDA_LIBRARY", &double).env("HMMRT_DOUBLE_INIT", "999"));
    assert!(backend(&info, "cuda")["error"].as_str().unwrap().contains("999"), "{info}");
    assert_eq!(info["backend"]["chosen"], "host");
}

#[test]
fn engines() {
    let info = json(&mut no_gpu());
    assert_eq!((&info["fault"]["setting"], &info["fault"]["chosen"]), (&"auto".into(), &"segv".into()));
    let engines = info["fault"]["list"].as_array().unwrap();
    assert_eq!(engines[0]["available"], true);
    for (engine, name) in engines.iter().zip(["segv", "uffd", "uffd-thread"]) {
        assert_eq!(engine["name"], name);
        let available = engine["available"].as_bool().unwrap();
        assert_eq!(engine["about"].as_str().unwrap().contains("this machine lacks"), !available);
        // What is said to be there is what a program gets; what is not, it does not.
        let info = json(no_gpu().env("HMMRT_FAULT", name));
        let chosen = if available { Value::from(name) } else { Value::Null };
        assert_eq!((&info["fault"]["setting"], &info["fault"]["chosen"]), (&name.into(), &chosen));
        let config = hmmrt::Config {
            fault: hmmrt::FaultEngine::parse("HMMRT_FAULT", name).unwrap(),
            backend: hmmrt::Backend::Host,
            ..hmmrt::Config::default()
        };
        assert_eq!(hmmrt::raw::init(Some(config)).is_ok(), available, "{name}");
        let _ = hmmrt::raw::shutdown();
    }
}

/// What the kernel itself says is what is reported.
#[test]
fn limits() {
    let info = json(no_gpu().env("HMMRT_VMA_BUDGET", "12345"));
    let limits = &info["limits"];
    let number = |path| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    assert_eq!(limits["max_map_count"].as_u64(), number("/proc/sys/vm/max_map_count"));
    assert_eq!(limits["overcommit"].as_u64(), number("/proc/sys/vm/overcommit_memory"));
    assert_eq!(limits["mapping_budget"], 12345);
    assert_eq!(limits["page_size"], 4096);
    // The runtime does not work without.
    assert_eq!(limits["mremap_dontunmap"], true);
    assert!(limits["memory_available"].as_u64() <= limits["memory_total"].as_u64());
    assert_eq!(Some(info["kernel"].as_str().unwrap()), good(Command::new("uname").arg("-r")).lines().next());
    assert_eq!(info["userfaultfd"]["unprivileged"].as_u64(), number("/proc/sys/vm/unprivileged_userfaultfd"));

    let mut limited = common::clean("sh");
    limited.args(["-c", "ulimit -v 8388608; ulimit -l 64; exec \"$0\" info", env!("CARGO_BIN_EXE_hmmrt")]);
    let text = good(&mut limited);
    let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).unwrap_or("").trim();
    assert!(line("RLIMIT_AS").ends_with(" 8 GiB") && line("RLIMIT_MEMLOCK").ends_with(" 64 KiB"), "{text}");
    assert!(text.contains("Address space is limited to 8 GiB"), "{text}");
}

#[test]
fn the_preload_library() {
    let info = json(no_gpu().env("HMMRT_PRELOAD_LIBRARY", library()));
    assert_eq!(info["preload"]["library"], library().to_str().unwrap());
    assert_eq!(info["preload"]["error"], Value::Null);
    let info = json(no_gpu().env("HMMRT_PRELOAD_LIBRARY", "/no/such.so"));
    assert_eq!(info["preload"]["library"], Value::Null);
    assert!(info["preload"]["error"].as_str().unwrap().contains("/no/such.so"));
}

#[test]
fn a_wrong_setting_is_named() {
    let info = done(no_gpu().env("HMMRT_SPARE", "64Q").arg("info"));
    assert_eq!((info.status, &*info.out), (1, ""));
    assert!(info.err.contains("HMMRT_SPARE") && info.err.contains("64Q"), "{}", info.err);
}
