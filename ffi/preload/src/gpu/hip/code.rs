//! The sizes of HIP kernels' parameters. HIP says nothing of them, but the code objects that the program registers or
//! loads do, in a note: a MessagePack map. Where there is none (compressed bundles), nothing is known of a kernel. Any
//! thread; the tables' lock is not held while anything waits.

use super::driver::LIBRARIES;
use crate::gpu::symbols::{Function, peek};
use core::ffi::{CStr, c_char, c_int, c_void};
use rmpv::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A kernel's parameters: the size of each.
type Sizes = Arc<[usize]>;
/// The kernels of an image, by name.
type Kernels = Arc<HashMap<String, Sizes>>;
/// Reads bytes from some place in an image; `None` if they are not there.
type Read<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// What `__hipRegisterFatBinary` is given.
#[repr(C)]
pub struct Wrapper {
    magic: u32,
    version: u32,
    image: *const c_void,
}

/// `HIPF`, the magic number of a [`Wrapper`].
const WRAPPED: u32 = 0x4849_5046;
const BUNDLE: &[u8] = b"__CLANG_OFFLOAD_BUNDLE__";
const ELF: &[u8] = b"\x7fELF\x02\x01";
/// More entries or headers than this has no image; and no longer a note.
const MOST: usize = 1024;
const MOST_NOTE: usize = 256 << 20;
/// `NT_AMDGPU_METADATA`.
const METADATA: u32 = 32;
const PT_NOTE: u32 = 4;

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

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(bytes.get(at..at + N).unwrap_or(&[0; N]));
    u64::from_le_bytes(all)
}

/// The kernels of an image: an ELF file, or a bundle, whose devices' files have kernels with the same parameters.
fn kernels(read: Read) -> Kernels {
    let mut all = HashMap::new();
    if read(0, ELF.len()).is_some_and(|begin| begin == ELF) {
        elf(0, read, &mut all);
    } else if read(0, BUNDLE.len()).is_some_and(|begin| begin == BUNDLE) {
        bundle(read, &mut all);
    }
    Arc::new(all)
}

fn bundle(read: Read, all: &mut HashMap<String, Sizes>) -> Option<()> {
    let count = number::<8>(&read(24, 8)?, 0);
    let mut at = 32;
    for _ in 0..count.min(MOST as u64) {
        // Where it is, how long it is, and how long its name is, which follows.
        let entry = read(at, 24)?;
        let (start, name) = (number::<8>(&entry, 0), number::<8>(&entry, 16));
        if read(start, ELF.len()).is_some_and(|begin| begin == ELF) {
            elf(start, read, all);
        }
        at = at.checked_add(24)?.checked_add(name)?;
    }
    Some(())
}

fn elf(start: u64, read: Read, all: &mut HashMap<String, Sizes>) -> Option<()> {
    let header = read(start, 64)?;
    let (table, size, count) = (number::<8>(&header, 32), number::<2>(&header, 54), number::<2>(&header, 56));
    for i in 0..count.min(MOST as u64) {
        let part = read(start.checked_add(table)?.checked_add(i * size)?, 56)?;
        let len = usize::try_from(number::<8>(&part, 32)).ok()?;
        if number::<4>(&part, 0) == u64::from(PT_NOTE) && len <= MOST_NOTE {
            notes(&read(start.checked_add(number::<8>(&part, 8))?, len)?, all);
        }
    }
    Some(())
}

/// Goes through a segment of notes: the lengths of name and content, the kind, and both, each to a multiple of four.
fn notes(mut bytes: &[u8], all: &mut HashMap<String, Sizes>) -> Option<()> {
    while bytes.len() >= 12 {
        let [name, content] = [0, 4].map(|at| number::<4>(bytes, at) as usize);
        let kind = number::<4>(bytes, 8);
        let at = 12 + name.next_multiple_of(4);
        if kind == u64::from(METADATA) && bytes.get(12..12 + name)? == b"AMDGPU\0" {
            metadata(bytes.get(at..at + content)?, all);
        }
        bytes = bytes.get(at + content.next_multiple_of(4)..)?;
    }
    Some(())
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    map.as_map()?.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

fn metadata(mut bytes: &[u8], all: &mut HashMap<String, Sizes>) -> Option<()> {
    const DEPTH: usize = 32;
    let map = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH).ok()?;
    for kernel in field(&map, "amdhsa.kernels")?.as_array()? {
        // What the compiler adds behind the program's parameters is the driver's to fill in.
        let is_hidden = |arg: &&Value| {
            field(arg, ".value_kind").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("hidden_"))
        };
        let none = Vec::new();
        let args = field(kernel, ".args").and_then(Value::as_array).unwrap_or(&none);
        let sizes: Option<Vec<usize>> = args
            .iter()
            .filter(|arg| !is_hidden(arg))
            .map(|arg| usize::try_from(field(arg, ".size")?.as_u64()?).ok())
            .collect();
        if let (Some(name), Some(sizes)) = (field(kernel, ".name").and_then(Value::as_str), sizes) {
            all.insert(name.to_owned(), sizes.into());
        }
    }
    Some(())
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
