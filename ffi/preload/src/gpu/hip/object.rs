//! What AMD's code objects say of their kernels' parameters: a note in an ELF file, or in each file of a bundle, with a
//! MessagePack map. Whatever the bytes are: what makes no sense is left out. Called by `code`, and by the fuzzer, which
//! takes this file by itself.

use rmpv::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// A kernel's parameters: the size of each.
pub type Sizes = Arc<[usize]>;
/// The kernels of an image, by name.
pub type Kernels = Arc<HashMap<String, Sizes>>;
/// Reads bytes from some place in an image; `None` if they are not there.
pub type Read<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

const BUNDLE: &[u8] = b"__CLANG_OFFLOAD_BUNDLE__";
const ELF: &[u8] = b"\x7fELF\x02\x01";
/// More entries or headers than this has no image; and no longer a note.
const MOST: usize = 1024;
const MOST_NOTE: usize = 256 << 20;
/// `NT_AMDGPU_METADATA`.
const METADATA: u32 = 32;
const PT_NOTE: u32 = 4;

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(bytes.get(at..at + N).unwrap_or(&[0; N]));
    u64::from_le_bytes(all)
}

/// The kernels of an image: an ELF file, or a bundle, whose devices' files have kernels with the same parameters.
pub fn kernels(read: Read) -> Kernels {
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
