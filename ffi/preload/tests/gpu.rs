//! GPU programs that know nothing of the library, on the doubles of the drivers: C programs, linked to a driver or looking
//! it up, that give what malloc gave them to kernels. Each runs without the library, too, where it must fail.

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;
#[path = "../../../runtime/tests/common/skips.rs"]
mod skips;

use skips::skipped;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs, process};

/// What the tests run with.
struct Built {
    /// The library.
    preload: PathBuf,
    /// For each driver a folder with the double under the driver's name.
    cuda: PathBuf,
    hip: PathBuf,
}

/// What the library is built with: as these tests.
const FEATURES: &str = if cfg!(feature = "small-objects") { "small-objects" } else { "" };

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

fn cc(arguments: &[&str], inputs: &[&Path], output: &Path) {
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(arguments);
    let done = command.args(inputs).arg("-o").arg(output).output().expect("a C compiler");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hmmrt-preload-gpu");
        fs::create_dir_all(&all).expect("the scratch folder");
        // Those of processes that have ended.
        for entry in fs::read_dir(&all).expect("the scratch folder").flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let root = all.join(process::id().to_string());
        let folder = |package: &str, library: &str, name: &str, defined: &str| {
            let folder = root.join(name);
            fs::create_dir_all(&folder).expect("a folder");
            let driver = folder.join(name);
            symlink(cdylib::build(package).join(library), &driver).expect("the driver's name");
            let newer = folder.join("libnewer.so");
            cc(&["-shared", "-fPIC", defined], &[&source("gpu_newer.c"), &driver], &newer);
            if defined == "-DCUDA" {
                let recorder = folder.join("librecorder.so");
                cc(&["-shared", "-fPIC"], &[&source("gpu_recorder.c"), &driver], &recorder);
            }
            folder
        };
        Built {
            preload: cdylib::build_with(".", FEATURES).join("libhmmrt_preload.so"),
            cuda: folder("../../doubles/cuda", "libhmmrt_double_cuda.so", "libcuda.so.1", "-DCUDA"),
            hip: folder("../../doubles/hip", "libhmmrt_double_hip.so", "libamdhip64.so.6", "-DHIP"),
        }
    })
}

/// A program, and the folder of its driver.
struct Program {
    path: PathBuf,
    driver: &'static Path,
}

/// Compiles a program. `lookup`: it is not linked to the driver.
fn compile(name: &str, lookup: u32) -> Program {
    let built = built();
    let (driver, library) = match name {
        "gpu_hip.c" => (&*built.hip, "libamdhip64.so.6"),
        _ => (&*built.cuda, "libcuda.so.1"),
    };
    let path = driver.join(format!("{name}.{lookup}.{:?}", std::thread::current().id()));
    let (newer, library) = (driver.join("libnewer.so"), driver.join(library));
    let mut inputs = vec![source(name)];
    if name == "gpu_graphs.c" {
        inputs.push(driver.join("librecorder.so"));
    }
    if lookup == 0 {
        inputs.extend([newer, library]);
    }
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    cc(&[&format!("-DLOOKUP={lookup}")], &inputs, &path);
    Program { path, driver }
}

impl Program {
    fn command(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).env("LD_LIBRARY_PATH", self.driver);
        // The HIP backend looks for the kernel's driver by itself, which is not there.
        if self.driver == built().hip {
            command.env("HMMRT_BACKEND", "hip");
        }
        command.env("HMMRT_DOUBLE_MEMORY", "128M").envs(settings.iter().copied());
        command
    }

    fn output(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments, settings);
        command.env("LD_PRELOAD", &built().preload).output().expect("the program")
    }

    /// Runs it under the library; it goes through these parts, and says nothing else.
    fn goes_through(&self, arguments: &[&str], settings: &[(&str, &str)], parts: &[&str]) {
        let output = self.output(arguments, settings);
        let expected = parts.iter().map(|p| format!("ok {p}\n")).collect::<String>() + "all well\n";
        let err = without_versions(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{settings:?}: {err}");
        assert!(output.status.success() && err.is_empty(), "{settings:?}: {} {err}", output.status);
    }

    /// Without the library it does not even get through its first part.
    fn fails_without(&self) {
        let output = self.command(&[], &[]).output().expect("the program");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}

/// What a program says but for this: one that was linked to AMD's library asks for a version of its functions, which the
/// dynamic linker notes that the double has not.
fn without_versions(said: &str) -> String {
    said.lines().filter(|line| !line.contains("libamdhip64.so.5: no version information available")).collect()
}

const CUDA: &[&str] = &[
    "plain_pointers",
    "a_buffer_of_values",
    "two_streams",
    "streams_come_and_go",
    "copies",
    "fills",
    "both_kinds",
    "what_the_driver_reads",
    "attributes",
    "pointers_in_device_memory",
    "nested_pointers",
];
const HIP: &[&str] = &[
    "plain_pointers",
    "other_launches",
    "no_room",
    "a_buffer_of_values",
    "two_streams",
    "copies",
    "boxes",
    "both_kinds",
    "values_in_managed_memory",
    "attributes",
];
/// What must make no difference: where device memory lies, how much is managed, what moves meanwhile, what launches bring.
const ANY: &[&[(&str, &str)]] = &[
    &[],
    &[("HMMRT_DOUBLE_HINTS", "over")],
    &[("HMMRT_MIN_SIZE", "0")],
    &[("HMMRT_CHAOS", "1")],
    &[("HMMRT_PRELOAD_DATA", "all")],
    &[("HMMRT_TAKE_MANAGED", "1")],
];

#[test]
fn a_program_linked_to_cuda() {
    let program = compile("gpu_cuda.c", 0);
    program.fails_without();
    for settings in ANY {
        program.goes_through(&[], settings, CUDA);
    }
}

#[test]
fn a_program_that_looks_cuda_up() {
    for lookup in [1, 2] {
        let program = compile("gpu_cuda.c", lookup);
        program.fails_without();
        program.goes_through(&[], &[], CUDA);
    }
}

#[test]
fn a_context_of_the_programs_own() {
    compile("gpu_cuda.c", 0).goes_through(&["own"], &[], CUDA);
}

/// By policy, or because the device has other addresses.
#[test]
fn nested_pointers_are_not_always_followed() {
    let program = compile("gpu_cuda.c", 0);
    for settings in [("HMMRT_PRELOAD_DATA", "args"), ("HMMRT_SAME_ADDRESS", "0")] {
        let output = program.output(&["args"], &[settings]);
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.ends_with("ok pointers_in_device_memory\nnot followed\n"), "{settings:?}: {output:?}");
    }
}

#[test]
fn every_way_to_launch() {
    let program = compile("gpu_launches.c", 0);
    program.fails_without();
    let parts = ["stream_of_the_thread", "cooperative", "with_a_configuration", "two_dimensions", "no_room"];
    program.goes_through(&[], &[], &parts);
}

/// The device is opened while they wait, and takes what they answer into.
#[test]
fn calls_that_wait_at_the_first_launch() {
    let program = compile("gpu_waits.c", 0);
    program.fails_without();
    let parts = ["children", "counters", "messages", "connections", "times", "signals"];
    program.goes_through(&[], &[], &parts);
    // Others are held: the launch that names their memory fails, and nothing is lost.
    std::thread::scope(|scope| {
        for (what, part) in [
            ("vectors", "held_vectors"),
            ("place", "held_vectors"),
            ("message", "held_message"),
            ("child", "held_child"),
            ("time", "held_time"),
            ("sent", "held_place"),
        ] {
            let program = &program;
            scope.spawn(move || {
                let output = program.output(&[what], &[]);
                let (out, err) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert_eq!(out, format!("ok {part}\nall well\n"), "{what}: {err}");
                assert!(err.contains("is in use (a system call of another thread uses it"), "{what}: {err}");
            });
        }
    });
}

/// They cost nothing that they would not without the library; but for a wait, in a context that is not shared.
#[test]
fn launches_that_name_nothing() {
    let program = compile("gpu_unnamed.c", 0);
    program.goes_through(&[], &[], &["beside_a_waiting_call", "without_waiting"]);
    program.goes_through(&["own"], &[], &["beside_a_waiting_call", "waited_for"]);
    program.goes_through(&["full"], &[("HMMRT_PRELOAD_DATA", "all")], &["without_room"]);
}

#[test]
fn graphs_and_boxes() {
    let program = compile("gpu_graphs.c", 0);
    program.fails_without();
    let settings: [&[(&str, &str)]; 4] =
        [&[], &[("HMMRT_PRELOAD_DATA", "args")], &[("HMMRT_SAME_ADDRESS", "0")], &[("HMMRT_CHAOS", "1")]];
    for settings in settings {
        let parts = [
            "copies_before_any_launch",
            "recorded",
            "copies_again",
            "by_nodes",
            "three_dimensions",
            "in_a_batch",
        ];
        program.goes_through(&[], settings, &parts);
    }
}

#[test]
fn managed_memory_of_cuda() {
    let program = compile("gpu_managed.c", 0);
    let parts = ["allocation", "nested_pointers", "moving", "advice", "attributes", "device_memory"];
    program.goes_through(&[], &[("HMMRT_TAKE_MANAGED", "1")], &parts);
    // Not asked for, or not there: the driver's, which is told apart by what it says of a range.
    for output in [program.output(&[], &[]), program.command(&[], &[]).output().expect("the program")] {
        assert!(!String::from_utf8_lossy(&output.stdout).contains("ok moving"), "{output:?}");
    }
}

#[test]
fn a_program_linked_to_hip() {
    let program = compile("gpu_hip.c", 0);
    program.fails_without();
    for settings in ANY {
        program.goes_through(&[], settings, HIP);
    }
    program.goes_through(&[], &[("HMMRT_SAME_ADDRESS", "0")], HIP);
    let parts = [HIP, &["managed_memory"]].concat();
    program.goes_through(&["managed"], &[("HMMRT_TAKE_MANAGED", "1")], &parts);
}

/// A program with kernels in it, as AMD's compiler makes it; linked to AMD's library, it finds the double. `None`: there is
/// no such compiler here.
fn hipcc(name: &str) -> Option<Program> {
    let driver = &*built().hip;
    let path = driver.join(format!("{name}.{:?}", std::thread::current().id()));
    let mut command = Command::new("hipcc");
    command.args(["--offload-arch=gfx90a", "-O1", "-Wall", "-Wextra", "-Werror"]).arg(source(name));
    let done = match command.arg("-o").arg(&path).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        done => done.expect("hipcc"),
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let soname = driver.join("libamdhip64.so.5");
    let _ = fs::remove_file(&soname);
    symlink(driver.join("libamdhip64.so.6"), soname).expect("the driver's name");
    Some(Program { path, driver })
}

#[test]
fn a_program_of_hipcc() {
    let Some(program) = hipcc("gpu_program.hip") else {
        skipped("a_program_of_hipcc", "there is no hipcc");
        return;
    };
    program.fails_without();
    let parts = ["launches", "containers", "streams_and_events", "copies", "a_list"];
    for settings in ANY {
        program.goes_through(&[], settings, &parts);
    }
    let managed = [&parts[..], &["managed"]].concat();
    program.goes_through(&["managed"], &[("HMMRT_TAKE_MANAGED", "1")], &managed);
    let alone = [&parts[..4], &["parameters_alone"]].concat();
    program.goes_through(&["args"], &[("HMMRT_PRELOAD_DATA", "args")], &alone);
    // Over AMD's own library, where there is no card, it ends as it does without this one.
    let plain = |command: &mut Command| command.env_remove("LD_LIBRARY_PATH").output().expect("the program");
    let without = plain(&mut program.command(&[], &[]));
    let with = plain(program.command(&[], &[]).env("LD_PRELOAD", &built().preload));
    assert_eq!((without.status.code(), without.stdout), (with.status.code(), with.stdout));
    assert_eq!(without.stderr, with.stderr);
}

/// A program with NVIDIA's runtime library in it: `HMMRT_TEST_CUDART` names one or more, `libcudart_static.a` or a shared
/// one, as the wheels of PyPI carry them. It comes as far over the double as without this library, which answers all that
/// it is to answer; without a driver nothing is other.
#[test]
fn a_program_with_cudas_runtime_library() {
    let Some(libraries) = env::var_os("HMMRT_TEST_CUDART") else {
        skipped("a_program_with_cudas_runtime_library", "HMMRT_TEST_CUDART names no libcudart");
        return;
    };
    let spy = built().cuda.join("libspy.so");
    cc(&["-shared", "-fPIC", "-O2"], &[&source("gpu_spy.c")], &spy);
    for library in env::split_paths(&libraries) {
        let path = built().cuda.join("cudart");
        let shared = library.extension().is_none_or(|extension| extension != "a");
        cc(&[], &[&source("gpu_cudart.c"), &library], &path);
        let run = |driver: Option<&Path>, preloaded: &[&Path]| {
            let folders = driver.into_iter().chain(library.parent().filter(|_| shared));
            let mut command = Command::new(&path);
            command.env("LD_LIBRARY_PATH", env::join_paths(folders).expect("folders"));
            if !preloaded.is_empty() {
                command.env("LD_PRELOAD", env::join_paths(preloaded).expect("libraries"));
            }
            // As new as the runtime library wants it.
            command.env("HMMRT_DOUBLE_VERSION", "13990").env("SPY", path.with_extension("txt"));
            let output = command.output().expect("the program");
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        let preload: &Path = &built().preload;
        let without_driver = run(None, &[]);
        assert!(
            without_driver.starts_with("cudaRuntimeGetVersion(&version) cudaSuccess 1"),
            "{without_driver}"
        );
        assert!(
            without_driver.contains("cudaGetDeviceCount(&count) cudaErrorInsufficientDriver"),
            "{without_driver}"
        );
        assert_eq!(run(None, &[preload]), without_driver);
        // It asks for the driver's private tables, and ends.
        let with_driver = run(Some(&built().cuda), &[]);
        assert!(with_driver.contains("cudaGetDeviceCount(&count) cudaErrorSymbolNotFound"), "{with_driver}");
        assert_eq!(run(Some(&built().cuda), &[preload]), with_driver);
        let _ = fs::remove_file(path.with_extension("txt"));
        assert_eq!(run(Some(&built().cuda), &[&spy, preload]), with_driver);
        let asked = fs::read_to_string(path.with_extension("txt")).expect("what was asked");
        let names = |owner: &str| -> Vec<&str> {
            asked.lines().filter(|l| l.ends_with(owner)).filter_map(|l| l.split(' ').next()).collect()
        };
        let (ours, drivers) = (names(" libhmmrt_preload.so"), names(" libcuda.so.1"));
        for name in
            ["cuGetProcAddress", "cuLaunchKernel", "cuMemcpyHtoD", "cuMemcpyDtoHAsync", "cuMemAllocManaged"]
        {
            assert!(ours.contains(&name), "{name} is not ours: {asked}");
        }
        // None is ours only sometimes.
        assert!(drivers.contains(&"cuGetExportTable"), "{asked}");
        assert!(!drivers.iter().any(|name| ours.contains(name)), "{asked}");
    }
}

/// Catches: an allocator that touches what it frees, or keeps its bookkeeping there: each such touch is a fault, and brings a
/// chunk home.
#[cfg(feature = "small-objects")]
#[test]
fn small_objects_are_freed_where_they_are() {
    let program = compile("gpu_small.c", 0);
    program.fails_without();
    let faults = |what: &str| -> u64 {
        let output = program.output(&[what], &[("HMMRT_SMALL", "1"), ("HMMRT_STATS", "1")]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout == b"all well\n", "{output:?}");
        let line =
            err.lines().find_map(|line| line.trim().strip_prefix("faults")).expect("the number of faults");
        line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
    };
    let kept = faults("keep");
    assert_eq!(faults("free"), kept);
    assert!(faults("touch") > kept, "nothing was away");
}

/// What AMD's runtime allocates can't be told from the program's.
#[cfg(feature = "small-objects")]
#[test]
fn no_small_objects_beside_amds_runtime() {
    let output = compile("gpu_hip.c", 0).output(&[], &[("HMMRT_SMALL", "1")]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("all well\n"), "{out}{err}");
    assert_eq!(err, "hmmrt warning: HMMRT_SMALL: AMD's runtime is loaded; no small objects are managed\n");
}

/// The runtime's device is not the program's: it is told, and its launches are its own.
#[test]
fn a_device_of_another_kind() {
    let output = compile("gpu_cuda.c", 0).output(&[], &[("HMMRT_BACKEND", "host")]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("the program uses cuda, the runtime host (HMMRT_BACKEND)"), "{err}");
    assert!(output.stdout.is_empty(), "{output:?}");
}
