//! What the compiler makes of a program with device code of its own: it registers an image and its kernels before it
//! begins, and launches by host functions that stand for them.

use core::cell::Cell;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use std::collections::HashMap;
use std::sync::Mutex;

use hmmrt_double_core::argument::{Out, Text};
use hmmrt_double_core::call::Frame;
use hmmrt_double_core::launch::{Shape, Values};
use hmmrt_double_core::lock::held;
use hmmrt_double_core::{Error, Result, entries, modules};

/// What an image comes in.
#[repr(C)]
pub struct Wrapper {
    magic: u32,
    version: u32,
    image: *const c_void,
}

/// `HIPF`.
const MAGIC: u32 = 0x4849_5046;

/// `dim3`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

impl Dim3 {
    fn sizes(self) -> [u32; 3] {
        [self.x, self.y, self.z]
    }
}

/// A kernel of the program: its image, its name, and its functions on devices where it was launched.
struct Symbol {
    handle: usize,
    image: usize,
    name: String,
    functions: HashMap<usize, u64>,
}

/// Kernels by their host functions.
static SYMBOLS_OF_PROGRAMS: Mutex<Option<HashMap<usize, Symbol>>> = Mutex::new(None);

type Configuration = (Dim3, Dim3, usize, u64);

thread_local! {
    /// The configuration between `<<<` and `>>>`.
    static NEXT: Cell<Option<Configuration>> = const { Cell::new(None) };
}

/// The function on the current device that a host function stands for.
fn function(frame: &Frame, symbol: *const c_void) -> Result<u64> {
    // hipErrorInvalidDeviceFunction
    const NO_FUNCTION: Error = Error(98);
    let mut all = held(&SYMBOLS_OF_PROGRAMS);
    let symbol = all.as_mut().and_then(|all| all.get_mut(&symbol.addr())).ok_or(NO_FUNCTION)?;
    let device = frame.device()?.number;
    if let Some(known) = symbol.functions.get(&device).filter(|f| modules::is_function(**f).is_ok()) {
        return Ok(*known);
    }
    // SAFETY: the image that the compiler put into the program.
    let module = unsafe { modules::load(frame, ptr::with_exposed_provenance(symbol.image)) }?;
    let function = modules::function(module, &symbol.name)?;
    symbol.functions.insert(device, function);
    Ok(function)
}

/// Takes an image. Its handle is the wrapper's address.
///
/// # Safety
/// The wrapper is the compiler's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __hipRegisterFatBinary(wrapper: *const Wrapper) -> *const Wrapper {
    // SAFETY: the caller's promise.
    if unsafe { (*wrapper).magic } == MAGIC { wrapper } else { ptr::null() }
}

/// Says which kernel a host function stands for.
///
/// # Safety
/// The arguments are the compiler's.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the driver's")]
pub unsafe extern "C" fn __hipRegisterFunction(
    handle: *const Wrapper,
    function: *const c_void,
    _text: *mut c_char,
    name: Text,
    _limit: c_int,
    _thread: *mut c_void,
    _block: *mut c_void,
    _blocks: *mut c_void,
    _grid: *mut c_void,
    _warp: *mut c_int,
) {
    let Ok(name) = name.get() else { return };
    // SAFETY: the wrapper, as it was registered.
    let image = unsafe { (*handle).image }.expose_provenance();
    let symbol = Symbol { handle: handle.addr(), image, name, functions: HashMap::new() };
    held(&SYMBOLS_OF_PROGRAMS).get_or_insert_default().insert(function.addr(), symbol);
}

/// Gives an image back: at the program's end.
#[unsafe(no_mangle)]
pub extern "C" fn __hipUnregisterFatBinary(handle: *const Wrapper) {
    if let Some(all) = held(&SYMBOLS_OF_PROGRAMS).as_mut() {
        all.retain(|_, symbol| symbol.handle != handle.addr());
    }
}

entries! {
    Nothing fn __hipPushCallConfiguration(_, grid: Dim3, block: Dim3, shared: usize, stream: u64) {
        NEXT.set(Some((grid, block, shared, stream)));
        Ok(())
    }

    Nothing fn __hipPopCallConfiguration(
        _,
        grid: Out<Dim3>,
        block: Out<Dim3>,
        shared: Out<usize>,
        stream: Out<u64>,
    ) {
        let next = NEXT.take().ok_or(Error::INVALID_VALUE)?;
        grid.put(next.0)?;
        block.put(next.1)?;
        shared.put(next.2)?;
        stream.put(next.3)
    }

    Health fn hipLaunchKernel(
        frame,
        symbol: *const c_void,
        grid: Dim3,
        block: Dim3,
        values: *mut *mut c_void,
        shared: usize,
        stream: u64,
    ) {
        let shared = u32::try_from(shared).map_err(|_| Error::INVALID_VALUE)?;
        let shape = Shape { grid: grid.sizes(), block: block.sizes(), shared };
        let values = Values { each: values, extra: ptr::null_mut() };
        // SAFETY: the caller's parameters.
        unsafe { modules::launch(frame, function(frame, symbol)?, shape, stream, values) }
    }

    Health fn hipGetFuncBySymbol(frame, out: Out<u64>, symbol: *const c_void) {
        out.check()?;
        out.put(function(frame, symbol)?)
    }
}
