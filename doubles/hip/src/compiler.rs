//! hiprtc, the compiler inside the driver's library. What it makes of a source is the source again, marked; a source that
//! has none of the known kernels does not compile. It works without a device and without init.

use core::ffi::{CStr, c_char};
use std::sync::{Arc, Mutex};

use hmmrt_double_core::argument::{In, Out, Room, Text};
use hmmrt_double_core::handles::Handles;
use hmmrt_double_core::image::has_word;
use hmmrt_double_core::kernels;
use hmmrt_double_core::lock::held;

/// What a compiled source begins with.
pub(crate) const MAGIC: &str = "libhmmrt HIP double\n";

/// `hiprtcResult`: codes and names.
const RESULTS: [(i32, &CStr); 7] = [
    (0, c"HIPRTC_SUCCESS"),
    (1, c"HIPRTC_ERROR_OUT_OF_MEMORY"),
    (2, c"HIPRTC_ERROR_PROGRAM_CREATION_FAILURE"),
    (3, c"HIPRTC_ERROR_INVALID_INPUT"),
    (4, c"HIPRTC_ERROR_INVALID_PROGRAM"),
    (5, c"HIPRTC_ERROR_INVALID_OPTION"),
    (6, c"HIPRTC_ERROR_COMPILATION"),
];
const INVALID_INPUT: i32 = 3;
const INVALID_PROGRAM: i32 = 4;
const INVALID_OPTION: i32 = 5;
const COMPILATION: i32 = 6;

/// A source and what became of it.
struct Program {
    name: String,
    source: String,
    compiled: Mutex<Compiled>,
}

#[derive(Default)]
struct Compiled {
    code: Vec<u8>,
    log: String,
}

static PROGRAMS: Handles<Program> = Handles::new();

type Answer = Result<(), i32>;

fn program(handle: u64) -> Result<Arc<Program>, i32> {
    PROGRAMS.get(handle).map_err(|_| INVALID_PROGRAM)
}

fn compile(program: &Program, options: &[String]) -> Answer {
    if options.iter().any(|option| !option.starts_with('-')) {
        return Err(INVALID_OPTION);
    }
    let mut compiled = held(&program.compiled);
    *compiled = Compiled::default();
    let source = &program.source;
    if !kernels::ALL.iter().any(|kernel| has_word(source.as_bytes(), kernel.name)) {
        compiled.log = format!("{}: error: no kernel that the double knows\n", program.name);
        return Err(COMPILATION);
    }
    compiled.code = format!("{MAGIC}{source}\0").into_bytes();
    Ok(())
}

/// Exports functions whose bodies give an [`Answer`]. They neither count nor fail by injection: a compiler is no device.
macro_rules! hiprtc {
    ($(fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            /// The compiler's function of this name.
            ///
            /// # Safety
            /// The arguments are what its documentation asks for.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the compiler's")]
            pub unsafe extern "C" fn $name($($arg: $kind),*) -> i32 {
                let body = || -> Answer { $body };
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(Err(1)).err().unwrap_or(0)
            }
        )*
    };
}

hiprtc! {
    fn hiprtcVersion(major: Out<i32>, minor: Out<i32>) {
        major.put(9).and(minor.put(0)).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcCreateProgram(
        out: Out<u64>,
        source: Text,
        name: Text,
        count: i32,
        headers: *const *const c_char,
        names: *const *const c_char,
    ) {
        // Includes are not followed; what they hold is not missed.
        let _ = (count, headers, names);
        out.check().map_err(|_| INVALID_INPUT)?;
        let source = source.get().map_err(|_| INVALID_INPUT)?;
        let name = name.get().unwrap_or_else(|_| "default_program".into());
        let program = Program { name, source, compiled: Mutex::default() };
        out.put(PROGRAMS.add(Arc::new(program))).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcCompileProgram(handle: u64, count: i32, options: In<Text>) {
        let program = program(handle)?;
        let option = |i| options.at(i).and_then(|option: Text| option.get());
        let options: Result<Vec<String>, _> = (0..usize::try_from(count).unwrap_or(0)).map(option).collect();
        compile(&program, &options.map_err(|_| INVALID_INPUT)?)
    }

    fn hiprtcGetCodeSize(handle: u64, out: Out<usize>) {
        let size = held(&program(handle)?.compiled).code.len();
        out.put(size).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcGetCode(handle: u64, out: Room) {
        let program = program(handle)?;
        let compiled = held(&program.compiled);
        if compiled.code.is_empty() {
            return Err(INVALID_PROGRAM);
        }
        out.put_bytes(&compiled.code).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcGetProgramLogSize(handle: u64, out: Out<usize>) {
        let log = held(&program(handle)?.compiled).log.len();
        // Nothing, or a text and its NUL.
        out.put(if log == 0 { 0 } else { log + 1 }).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcGetProgramLog(handle: u64, out: Room) {
        let log = held(&program(handle)?.compiled).log.clone();
        out.put_bytes(format!("{log}\0").as_bytes()).map_err(|_| INVALID_INPUT)
    }

    fn hiprtcDestroyProgram(handle: *mut u64) {
        if handle.is_null() {
            return Err(INVALID_PROGRAM);
        }
        // SAFETY: not NULL, so the program's handle, which is cleared.
        let own = unsafe { handle.replace(0) };
        PROGRAMS.remove(own).map(drop).map_err(|_| INVALID_PROGRAM)
    }
}

/// The compiler's function of this name.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the compiler's")]
pub extern "C" fn hiprtcGetErrorString(code: i32) -> *const c_char {
    let line = RESULTS.iter().find(|line| line.0 == code);
    line.map_or(c"HIPRTC_ERROR_INTERNAL_ERROR", |line| line.1).as_ptr()
}
