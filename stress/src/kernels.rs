//! The kernels that the threads launch: the test suite's and the built-in ones on every backend; on the host backend also
//! functions of this program, which check on the device what the CPU checks.

use crate::MAY_BE_DOWN;
use crate::field::{Field, value};
use crate::history::fail;
use core::ffi::c_void;
use core::sync::atomic::Ordering::SeqCst;
use hmmrt::{AccessMode, Error, KernelId, LaunchArg, LaunchConfig, StreamId, raw};

/// One device's kernels and a thread's stream there.
pub struct Device {
    /// Its number.
    pub number: i32,
    /// The thread's stream.
    pub stream: StreamId,
    add_word: KernelId,
    fill: KernelId,
    copy: KernelId,
    sum: KernelId,
    /// Host backend only: verify, bump.
    own: Option<[KernelId; 2]>,
}

/// What a kernel of this program is told of the words it gets.
#[repr(C)]
#[derive(Clone, Copy)]
struct Order {
    field: *const Field,
    first: usize,
    count: usize,
    me: usize,
    /// The versions of its words that its thread has written; and the least of the others' words. Given up to the kernel.
    least: *mut Vec<u32>,
}

/// # Safety
/// Launched with a pointer to the words and an [`Order`] for them.
unsafe extern "C" fn verify(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: the caller's promise; the words are acquired for reading.
    unsafe { each(args, |_, _, _, _| ()) }
}

/// # Safety
/// As [`verify`], and the words are acquired for writing.
unsafe extern "C" fn bump(_: *const LaunchConfig, args: *const *mut c_void) {
    let next = |field: &Field, i: usize, word: *mut u64, version: u32| {
        // SAFETY: one of the words that were acquired.
        unsafe { word.write_volatile(value(field.number, i, version + 1)) }
    };
    // SAFETY: the caller's promise.
    unsafe { each(args, next) }
}

/// # Safety
/// As [`verify`].
unsafe fn each(args: *const *mut c_void, then: impl Fn(&Field, usize, *mut u64, u32)) {
    // SAFETY: launched with these two arguments; the launch has made the list for this run of the kernel alone.
    let (words, order, least) = unsafe {
        let words = (*args).cast::<*mut u64>().read_unaligned();
        let order = (*args.add(1)).cast::<Order>().read_unaligned();
        (words, order, Box::from_raw(order.least))
    };
    // SAFETY: fields live until all streams are through.
    let field = unsafe { &*order.field };
    for k in 0..order.count {
        let i = order.first + k;
        // SAFETY: one of the words that were acquired.
        let word = unsafe { words.add(k) };
        // SAFETY: as above.
        let now = unsafe { word.read_volatile() };
        if field.owner(i) == Some(order.me) {
            let expected = value(field.number, i, least[k]);
            if now != expected {
                let what = "a kernel has, for its thread's word";
                let (number, version) = (field.number, least[k]);
                fail(
                    format_args!("{what} {i} of field {number}, {now:#x}, not version {version}"),
                    field.word(i).as_ptr().addr(),
                );
            }
            then(field, i, word, least[k]);
        } else {
            field.check(i, now, least[k], "a kernel's read");
        }
    }
}

/// Errors that a full device and its neighbours' use of memory may cause; anything else is a failure.
pub fn allowed(done: hmmrt::Result<()>, addr: usize) -> bool {
    match done {
        Ok(()) => true,
        Err(Error::DeviceMemory { .. } | Error::Busy { .. }) => false,
        Err(Error::Shutdown { .. }) if MAY_BE_DOWN.load(SeqCst) => false,
        Err(e) => fail(format_args!("{e}"), addr),
    }
}

fn must<T>(done: hmmrt::Result<T>) -> T {
    done.unwrap_or_else(|e| fail(format_args!("{e}"), 0))
}

fn number<T>(value: &T) -> LaunchArg {
    LaunchArg::Value { data: core::ptr::from_ref(value).cast(), size: size_of::<T>() }
}

/// `*p += 1`: the host's twin of the device code.
///
/// # Safety
/// Launched with a pointer to an acquired word.
unsafe extern "C" fn add_word(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { *(*args).cast::<*mut u64>().read_unaligned() += 1 }
}

impl Device {
    /// A new stream on device `number`, and its kernels.
    pub fn open(number: i32) -> Device {
        const PTX: &[u8] = include_bytes!("../../kernels/test_kernels.ptx");
        const SOURCE: &str =
            concat!(include_str!("../../kernels/kernels.cu"), include_str!("../../kernels/test_kernels.cu"));
        let backend = must(raw::device_info(number)).backend;
        let builtin = must(raw::module_builtin(number));
        let get = |name| must(raw::kernel_get(builtin, name));
        // SAFETY: launched with what they take, below.
        let host = |f| unsafe { must(raw::kernel_from_function(number, f)) };
        let load = |image: &[u8]| {
            // SAFETY: the kind of image that the backend takes.
            let module = must(unsafe { raw::module_load(number, image) });
            must(raw::kernel_get(module, "test_add_word"))
        };
        Device {
            number,
            stream: must(raw::stream_create(number)),
            add_word: match backend {
                "host" => host(add_word),
                "cuda" => load(PTX),
                _ => load(SOURCE.as_bytes()),
            },
            fill: get("hmm_fill"),
            copy: get("hmm_copy"),
            sum: get("hmm_sum"),
            own: (backend == "host").then(|| [host(verify), host(bump)]),
        }
    }

    /// Waits for all of the thread's work here.
    pub fn synchronize(&self) {
        must(raw::stream_synchronize(self.stream));
    }

    /// Ends the stream.
    pub fn close(self) {
        must(raw::stream_destroy(self.stream));
    }

    /// Whether the kernels of this program run here.
    pub fn has_own_kernels(&self) -> bool {
        self.own.is_some()
    }

    fn launch(&self, kernel: KernelId, args: &[LaunchArg], addr: usize) -> bool {
        let config = LaunchConfig { stream: self.stream, ..LaunchConfig::default() };
        // SAFETY: the callers' arguments fit their kernels.
        allowed(unsafe { raw::launch(kernel, &config, args) }, addr)
    }

    /// Adds one to a word.
    pub fn add_word(&self, word: *mut u64) -> bool {
        let args = [LaunchArg::Pointer { ptr: word.cast(), len: 8, mode: AccessMode::ReadWrite }];
        self.launch(self.add_word, &args, word.addr())
    }

    /// Fills `words` 32-bit words.
    pub fn fill(&self, to: *mut u8, words: u64, with: u32) -> bool {
        let ptr = LaunchArg::Pointer { ptr: to, len: words as usize * 4, mode: AccessMode::Write };
        self.launch(self.fill, &[ptr, number(&with), number(&words)], to.addr())
    }

    /// Copies bytes.
    pub fn copy(&self, to: *mut u8, from: *const u8, len: u64) -> bool {
        let args = [
            LaunchArg::Pointer { ptr: to, len: len as usize, mode: AccessMode::Write },
            LaunchArg::Pointer { ptr: from, len: len as usize, mode: AccessMode::Read },
            number(&len),
        ];
        self.launch(self.copy, &args, to.addr())
    }

    /// Adds the sum of 32-bit words to a word.
    pub fn sum(&self, out: *mut u8, from: *const u8, words: u64) -> bool {
        let args = [
            LaunchArg::Pointer { ptr: out, len: 8, mode: AccessMode::ReadWrite },
            LaunchArg::Pointer { ptr: from, len: words as usize * 4, mode: AccessMode::Read },
            number(&words),
        ];
        self.launch(self.sum, &args, from.addr())
    }

    /// Checks words of a field on the device, and with `writes` gives thread `me`'s their next version.
    pub fn words(&self, field: &Field, first: usize, count: usize, me: usize, writes: bool) -> bool {
        let Some([verify, bump]) = self.own else { return false };
        let least: Vec<u32> = (first..first + count).map(|i| field.least(i)).collect();
        let least = Box::into_raw(Box::new(least));
        let order = Order { field, first, count, me, least };
        let mode = if writes { AccessMode::ReadWrite } else { AccessMode::Read };
        let ptr = field.word(first).as_ptr().cast();
        let kernel = if writes { bump } else { verify };
        let args = [LaunchArg::Pointer { ptr, len: count * 8, mode }, number(&order)];
        let launched = self.launch(kernel, &args, ptr.addr());
        if !launched {
            // SAFETY: the kernel does not run, so the list is still ours.
            drop(unsafe { Box::from_raw(least) });
        }
        launched
    }
}
