//! One file per row of the table; each has `run`, which measures floor and ours turn by turn and files the result.

pub mod acquire;
pub mod both_write;
pub mod chunk_home;
pub mod cpu_read;
pub mod floors;
pub mod fork;
pub mod malloc;
pub mod page_fault;
pub mod prefetch;
pub mod table;
pub mod thp_migration;

/// What a row returns when something other than time is wrong: an error of the runtime, or a wrong byte or state.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// "1 GiB", "64 MiB", "64 KiB".
pub fn size(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}
