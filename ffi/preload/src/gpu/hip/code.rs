//! The sizes of HIP kernels' parameters. HIP says nothing of them, but the code objects that the program registers or
//! loads do (`object`). Where there is none (compressed bundles), nothing is known of a kernel. Any thread; the tables'
//! lock is not held while anything waits.

use super::driver::LIBRARIES;
use super::object::{Kernels, Sizes, kernels};
use crate::gpu::symbols::{Function, peek};
use core::ffi::{CStr, c_char, c_int, c_void};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What `__hipRegisterFatBinary` is given.
#[repr(C)]
pub struct Wrapper {
    magic: u32,
    version: u32,
    image: *const c_void,
}

/// `HIPF`, the magic number of a [`Wrapper`].
const WRAPPED: u32 = 0x4849_5046;

#[derive(Default)]
struct Known {
    /// Images that the program registered, by handle: where they are, and what is in them once that was asked.
    images: BTreeMap<usize, (usize, Option<Kernels>)>,
    /// Host functions that stand for kernels: the handle of their image, and the kernel's name.
    symbols: HashMap<usize, (usize, String)>,
    modules: BTreeMap<usize, Kernels>,
    /// Functions of modules, and their module.
    functions: HashMap<usize, (usize, Sizes)>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sizes of the parameters of a kernel, by its function or the host's function that stands for it.
pub fn sizes(function: usize) -> Option<Sizes> {
    let mut known = known();
    let known = known.as_mut()?;
    if let Some((_, sizes)) = known.functions.get(&function) {
        return Some(sizes.clone());
    }
    let (handle, name) = known.symbols.get(&function)?;
    let (at, kernels) = known.images.get_mut(handle)?;
    kernels.get_or_insert_with(|| in_memory(*at)).get(name).cloned()
}

/// A module was loaded from memory.
pub fn loaded(module: usize, image: usize) {
    keep(module, in_memory(image));
}

/// A module was loaded from a file.
///
/// # Safety
/// `path` is a C string.
pub unsafe fn loaded_file(module: usize, path: *const c_char) {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path.to_bytes());
    if let Ok(file) = File::open(path) {
        keep(
            module,
            kernels(&|offset, len| {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
            }),
        );
    }
}

fn keep(module: usize, kernels: Kernels) {
    known().get_or_insert_default().modules.insert(module, kernels);
}

/// A function was found in a module.
///
/// # Safety
/// `name` is a C string.
pub unsafe fn found(function: usize, module: usize, name: *const c_char) {
    let mut known = known();
    let Some(known) = known.as_mut() else { return };
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    match known.modules.get(&module).and_then(|kernels| kernels.get(&*name)) {
        Some(sizes) => known.functions.insert(function, (module, sizes.clone())),
        None => known.functions.remove(&function),
    };
}

/// A function was found that is what a host function stands for.
pub fn found_symbol(function: usize, symbol: usize) {
    if let Some(sizes) = sizes(symbol) {
        known().get_or_insert_default().functions.insert(function, (0, sizes));
    }
}

/// The program is about to unload a module.
pub fn unloaded(module: usize) {
    if let Some(known) = known().as_mut() {
        known.modules.remove(&module);
        known.functions.retain(|_, (of, _)| *of != module);
    }
}

fn in_memory(at: usize) -> Kernels {
    kernels(&|offset, len| {
        let mut bytes = vec![0; len];
        (peek(at.checked_add(usize::try_from(offset).ok()?)?, &mut bytes) == len).then_some(bytes)
    })
}

/// The function of that type behind one of those below.
///
/// # Safety
/// `F` is its type.
unsafe fn real<F: Copy>(function: &Function) -> Option<F> {
    match function.address() {
        0 => None,
        // SAFETY: the address of a function of that type, by the caller's promise.
        at => Some(unsafe { core::mem::transmute_copy(&at) }),
    }
}

/// Registers the program's device code: what the compiler has each program call before it begins.
///
/// # Safety
/// As HIP's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __hipRegisterFatBinary(wrapper: *const Wrapper) -> *mut *mut c_void {
    static REAL: Function = Function::new(LIBRARIES, c"__hipRegisterFatBinary");
    type F = unsafe extern "C" fn(*const Wrapper) -> *mut *mut c_void;
    // SAFETY: its type; the wrapper is the compiler's.
    unsafe {
        let Some(real) = real::<F>(&REAL) else { return core::ptr::null_mut() };
        let handle = real(wrapper);
        if !handle.is_null() && (*wrapper).magic == WRAPPED {
            let image = (*wrapper).image.expose_provenance();
            known().get_or_insert_default().images.insert(handle.expose_provenance(), (image, None));
        }
        handle
    }
}

/// Says which kernel a host function stands for.
///
/// # Safety
/// As HIP's.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "HIP's")]
pub unsafe extern "C" fn __hipRegisterFunction(
    handle: *mut *mut c_void,
    function: *const c_void,
    text: *mut c_char,
    name: *const c_char,
    limit: c_int,
    thread: *mut c_void,
    block: *mut c_void,
    blocks: *mut c_void,
    grid: *mut c_void,
    warp: *mut c_int,
) {
    static REAL: Function = Function::new(LIBRARIES, c"__hipRegisterFunction");
    type P = *mut c_void;
    type F = unsafe extern "C" fn(
        *mut P,
        *const c_void,
        *mut c_char,
        *const c_char,
        c_int,
        P,
        P,
        P,
        P,
        *mut c_int,
    );
    // SAFETY: its type; the arguments are the compiler's.
    unsafe {
        if !name.is_null() {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let kernel = (handle.expose_provenance(), name);
            known().get_or_insert_default().symbols.insert(function.expose_provenance(), kernel);
        }
        if let Some(real) = real::<F>(&REAL) {
            real(handle, function, text, name, limit, thread, block, blocks, grid, warp);
        }
    }
}

/// Takes the program's device code back: at its end.
///
/// # Safety
/// As HIP's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __hipUnregisterFatBinary(handle: *mut *mut c_void) {
    static REAL: Function = Function::new(LIBRARIES, c"__hipUnregisterFatBinary");
    let number = handle.expose_provenance();
    if let Some(known) = known().as_mut() {
        known.images.remove(&number);
        known.symbols.retain(|_, (of, _)| *of != number);
    }
    // SAFETY: its type; the handle is the caller's.
    unsafe {
        if let Some(real) = real::<unsafe extern "C" fn(*mut *mut c_void)>(&REAL) {
            real(handle);
        }
    }
}
