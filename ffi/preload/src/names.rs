//! The C library as it is behind our own functions: the one file of its names. The allocator's are linked; everything
//! else is looked up once, by the constructor or at first use, because our own functions have the same names. Any
//! thread, any context.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::*};

unsafe extern "C" {
    /// glibc's own allocator under the names that nobody interposes: no `dlsym` on malloc's way.
    pub fn __libc_malloc(size: usize) -> *mut c_void;
    pub fn __libc_calloc(n: usize, size: usize) -> *mut c_void;
    pub fn __libc_realloc(ptr: *mut c_void, size: usize) -> *mut c_void;
    pub fn __libc_free(ptr: *mut c_void);
    pub fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
    static environ: *const *const c_char;
}

/// Defines the module `$real`, which has the C library's function of each name, and the function `$resolve`, which looks all
/// of them up: the constructor calls it, so that nothing has to in a signal handler.
macro_rules! reals {
    ($real:ident, $resolve:ident: $($name:ident)+) => {
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        mod $real {
            $(pub static $name: crate::names::Real = crate::names::Real::new(
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                });)+
        }

        /// Looks all of them up.
        pub fn $resolve() {
            $($real::$name.address();)+
        }
    };
}
pub(crate) use reals;

/// This thread's errno.
pub fn errno() -> c_int {
    // SAFETY: valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno.
pub fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

pub use hmmrt_core::raw::preload::system_call as bare;

static SET_CANCEL_TYPE: Real = Real::new(c"pthread_setcanceltype");

/// Looks up what this file needs.
pub fn resolve() {
    SET_CANCEL_TYPE.address();
}

/// A thread that is cancelled only in calls that are points for it: pthread_setcanceltype(3).
pub const DEFERRED: c_int = 0;

/// Changes how this thread is cancelled, and says how it was. May not come back: it is cancelled then. Keeps errno.
pub fn set_cancel_type(kind: c_int) -> c_int {
    let (at, mut before) = (SET_CANCEL_TYPE.known(), DEFERRED);
    if at != 0 {
        // SAFETY: the function of that name, and a valid place.
        unsafe {
            let f: unsafe extern "C-unwind" fn(c_int, *mut c_int) -> c_int =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
            f(kind, &raw mut before);
        }
    }
    before
}

/// What the C library makes of the kernel's answer.
pub fn answer(raw: isize) -> isize {
    if (-4095..0).contains(&raw) {
        set_errno(-raw as c_int);
        return -1;
    }
    raw
}

/// Says something on standard error, in one piece.
pub fn say(text: &str) {
    let saved = errno();
    // SAFETY: the bytes are readable.
    unsafe { bare(libc::SYS_write, [2, text.as_ptr().addr(), text.len(), 0, 0, 0]) };
    set_errno(saved);
}

/// What the C library says about bad pointers before it aborts, and then aborts.
pub fn abort_with(text: &str) -> ! {
    say(text);
    // SAFETY: never returns.
    unsafe { libc::abort() }
}

/// Whether the C library has set up the environment.
pub fn is_up() -> bool {
    // SAFETY: a pointer that is written once, before any thread is started.
    unsafe { !(&raw const environ).read_volatile().is_null() }
}

/// A variable of the environment, without the C library's help and without allocation. Its bytes stay where they are as
/// long as the program does not change it.
pub fn variable(name: &str) -> Option<&'static [u8]> {
    if is_secure() {
        return None;
    }
    // SAFETY: the environment is an array of C strings that ends with NULL.
    unsafe {
        let mut at = (&raw const environ).read_volatile();
        while !at.is_null() && !(*at).is_null() {
            let entry = CStr::from_ptr(*at).to_bytes();
            if let Some(value) = entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
            {
                return Some(value);
            }
            at = at.add(1);
        }
    }
    None
}

/// Whether the program runs with more rights than who started it: its environment is not to be trusted then.
pub fn is_secure() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The bytes of the kernel's pages, as the C library knows them.
pub fn page_size() -> usize {
    // SAFETY: no preconditions.
    (unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize).max(4096)
}

/// This process's number.
pub fn process() -> c_int {
    // SAFETY: no preconditions.
    unsafe { bare(libc::SYS_getpid, [0; 6]) as c_int }
}

/// The machine's memory and swap, in bytes.
pub fn total_memory() -> usize {
    // SAFETY: the struct is written before it is read.
    unsafe {
        let mut info: libc::sysinfo = core::mem::zeroed();
        libc::sysinfo(&mut info);
        (info.totalram as usize)
            .saturating_add(info.totalswap as usize)
            .saturating_mul(info.mem_unit as usize)
    }
}

/// Calls `found` with the name and the addresses of each loaded object.
pub fn objects(mut found: impl FnMut(&CStr, usize, usize)) {
    extern "C" fn each<F: FnMut(&CStr, usize, usize)>(
        info: *mut libc::dl_phdr_info,
        _: usize,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader's description, valid during the call, and our own closure.
        unsafe {
            let (info, found) = (&*info, &mut *found.cast::<F>());
            let (mut low, mut high) = (usize::MAX, 0);
            for i in 0..usize::from(info.dlpi_phnum) {
                let part = &*info.dlpi_phdr.add(i);
                if part.p_type == libc::PT_LOAD {
                    let start = info.dlpi_addr as usize + part.p_vaddr as usize;
                    low = low.min(start);
                    high = high.max(start + part.p_memsz as usize);
                }
            }
            if !info.dlpi_name.is_null() {
                found(CStr::from_ptr(info.dlpi_name), low, high);
            }
        }
        0
    }
    fn callback<F: FnMut(&CStr, usize, usize)>(
        _: &F,
    ) -> unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int {
        each::<F>
    }
    let callback = callback(&found);
    // SAFETY: the callback gets the closure it was made for.
    unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut found).cast()) };
}

/// Whether code of this library's is at that address.
pub fn is_ours(at: usize) -> bool {
    static START: AtomicUsize = AtomicUsize::new(0);
    static END: AtomicUsize = AtomicUsize::new(0);
    if END.load(Acquire) == 0 {
        let here = (is_ours as *const ()).addr();
        objects(|_, start, end| {
            if (start..end).contains(&here) {
                START.store(start, Relaxed);
                END.store(end, Release);
            }
        });
    }
    (START.load(Relaxed)..END.load(Relaxed)).contains(&at)
}

/// Whether the function that dlsym(3) has found is there. In a program that is not position-independent, and takes the address
/// of a function that it does not have, it may be the place by which that is called.
pub fn is_defined(at: usize) -> bool {
    unsafe extern "C" {
        fn dladdr1(
            at: *const c_void,
            info: *mut libc::Dl_info,
            extra: *mut *mut c_void,
            flags: c_int,
        ) -> c_int;
    }
    const RTLD_DL_SYMENT: c_int = 1;
    const SHN_UNDEF: u16 = 0;
    // SAFETY: all places are valid; what is found is the loader's symbol, which stays as long as its object.
    unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        let mut symbol = core::ptr::null_mut();
        let at = core::ptr::with_exposed_provenance(at);
        dladdr1(at, &mut info, &mut symbol, RTLD_DL_SYMENT) == 0
            || symbol.is_null()
            || (*symbol.cast::<libc::Elf64_Sym>()).st_shndx != SHN_UNDEF
    }
}

/// Whether the program itself was made by Go's tools: they leave a note with their name.
pub fn has_note_of_go() -> bool {
    // SAFETY: the program's headers, which the kernel names, and the notes that they say are loaded; each is read within
    // its length.
    unsafe {
        let headers =
            core::ptr::with_exposed_provenance::<libc::Elf64_Phdr>(libc::getauxval(libc::AT_PHDR) as usize);
        let count = libc::getauxval(libc::AT_PHNUM) as usize;
        let all = |kind| (0..count).map(|i| &*headers.add(i)).filter(move |h| h.p_type == kind);
        let Some(table) = all(libc::PT_PHDR).next() else { return false };
        let base = headers.addr().wrapping_sub(table.p_vaddr as usize);
        all(libc::PT_NOTE).any(|h| {
            let (start, len) = (base.wrapping_add(h.p_vaddr as usize), h.p_memsz as usize);
            let bytes = core::slice::from_raw_parts(core::ptr::with_exposed_provenance::<u8>(start), len);
            // Its length, the text's, the kind (4: the build's id), and the name.
            bytes.windows(16).any(|w| w[..4] == [4, 0, 0, 0] && w[8..] == *b"\x04\0\0\0Go\0\0")
        })
    }
}

/// A function that stands behind one of ours: found once, then a load.
pub struct Real {
    name: &'static CStr,
    whose: Whose,
    at: AtomicUsize,
}

/// Where a function is looked for.
#[derive(Clone, Copy)]
enum Whose {
    Next,
    CLibrary,
    Program,
}

impl Real {
    /// Where the address is in it, for assembly.
    pub const AT: usize = core::mem::offset_of!(Real, at);

    /// The next function of that name behind this library's.
    pub const fn new(name: &'static CStr) -> Real {
        Real { name, whose: Whose::Next, at: AtomicUsize::new(0) }
    }

    /// The C library's own function of that name, whoever else has one.
    pub const fn of_the_c_library(name: &'static CStr) -> Real {
        Real { name, whose: Whose::CLibrary, at: AtomicUsize::new(0) }
    }

    /// The one that the program calls, and the C library too: ours, or another's that comes before this library.
    pub const fn of_the_program(name: &'static CStr) -> Real {
        Real { name, whose: Whose::Program, at: AtomicUsize::new(0) }
    }

    /// Its address, 0 if there is none.
    #[inline]
    pub fn address(&self) -> usize {
        match self.at.load(Relaxed) {
            0 => self.look_up(),
            at => at,
        }
    }

    /// Its address if it was looked up already.
    pub fn known(&self) -> usize {
        self.at.load(Relaxed)
    }

    #[cold]
    fn look_up(&self) -> usize {
        let saved = errno();
        // SAFETY: C strings; the C library is loaded, and its handle is never closed, as code is never unloaded here.
        let at = unsafe {
            let within = match self.whose {
                Whose::Next => libc::RTLD_NEXT,
                Whose::CLibrary => libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY),
                Whose::Program => libc::RTLD_DEFAULT,
            };
            libc::dlsym(within, self.name.as_ptr()).expose_provenance()
        };
        self.at.store(at, Relaxed);
        set_errno(saved);
        at
    }
}
