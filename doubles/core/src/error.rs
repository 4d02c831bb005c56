//! The errors of a driver as numbers. CUDA and HIP agree in the numbers of all of these; the names are the front-ends'.

/// A driver's error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

/// What a call gives.
pub type Result<T = ()> = core::result::Result<T, Error>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Error { $($(#[$doc])* pub const $name: Error = Error($code);)* }
    };
}

codes! {
    /// An argument makes no sense.
    INVALID_VALUE = 1;
    /// The device's memory, or the host's, is used up.
    OUT_OF_MEMORY = 2;
    /// No init yet, or a forked child.
    NOT_INITIALIZED = 3;
    /// The process is exiting.
    DEINITIALIZED = 4;
    /// There is no device.
    NO_DEVICE = 100;
    /// No device of that number.
    INVALID_DEVICE = 101;
    /// Not a module.
    INVALID_IMAGE = 200;
    /// No current context, or not a context.
    INVALID_CONTEXT = 201;
    /// A container without code for this device.
    NO_BINARY = 209;
    /// Malformed PTX (HIP: kernel file).
    INVALID_PTX = 218;
    /// Not a stream, event, module or function, or one of another device.
    INVALID_HANDLE = 400;
    /// No kernel or symbol of that name.
    NOT_FOUND = 500;
    /// Work is pending.
    NOT_READY = 600;
    /// A kernel or copy touched what is not mapped.
    ILLEGAL_ADDRESS = 700;
    /// The current context is no more.
    CONTEXT_DESTROYED = 709;
    /// Host memory is registered already.
    ALREADY_REGISTERED = 712;
    /// Host memory is not registered.
    NOT_REGISTERED = 713;
    /// A pointer is not aligned for what it points at.
    MISALIGNED = 716;
    /// The device is lost.
    LAUNCH_FAILED = 719;
    /// A driver call in a host function on a stream.
    NOT_PERMITTED = 800;
    /// The device or driver can't.
    NOT_SUPPORTED = 801;
    /// A stream that is captured can't do that.
    STREAM_CAPTURE_UNSUPPORTED = 900;
    /// Anything else.
    UNKNOWN = 999;
}
