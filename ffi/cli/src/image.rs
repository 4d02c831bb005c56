//! What kind of program a file is, as the kernel sees it: an ELF file, a script with a `#!` line, or something else.
//! Reads headers only.

use object::elf::{FileHeader32, FileHeader64, Machine, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How much of a script's first line the kernel looks at.
const LINE: usize = 256;

/// A file that can be a program.
#[derive(Debug, PartialEq, Eq)]
pub enum Image {
    /// Machine code.
    Elf(Elf),
    /// A script; the path is its interpreter's.
    Script(PathBuf),
    /// Neither, and no text: for the kernel, or what was registered with it, to know.
    Unknown,
    /// A text without `#!`, which shells run as a script of theirs.
    Text,
}

/// What there is to know of an ELF file.
#[derive(Debug, PartialEq, Eq)]
pub struct Elf {
    /// What code it has.
    pub target: Target,
    /// The program's loader. None: a static program, or a library.
    pub loader: Option<PathBuf>,
}

/// Which code an ELF file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bits of an address.
    bits: u8,
    machine: Machine,
    big_endian: bool,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use object::elf;
        let machine = match self.machine {
            elf::EM_386 => "x86",
            elf::EM_X86_64 => "x86-64",
            elf::EM_ARM => "ARM",
            elf::EM_AARCH64 => "aarch64",
            elf::EM_RISCV => "RISC-V",
            elf::EM_PPC64 => "PowerPC",
            elf::EM_S390 => "s390",
            other => return write!(f, "{}-bit code for ELF machine {}", self.bits, other.0),
        };
        write!(f, "{}-bit {machine} code", self.bits)
    }
}

impl Image {
    /// Reads the headers of a file.
    pub fn of(path: &Path) -> io::Result<Image> {
        let mut file = File::open(path)?;
        let mut start = Vec::with_capacity(LINE);
        file.by_ref().take(LINE as u64).read_to_end(&mut start)?;
        if let Some(interpreter) = interpreter(&start) {
            return Ok(Image::Script(interpreter));
        }
        let data = ReadCache::new(file);
        let elf = match FileKind::parse(&data) {
            Ok(FileKind::Elf32) => elf::<FileHeader32<Endianness>>(&data, 32),
            Ok(FileKind::Elf64) => elf::<FileHeader64<Endianness>>(&data, 64),
            _ => return Ok(if is_text(&start) { Image::Text } else { Image::Unknown }),
        };
        // A damaged file: the kernel will say so.
        Ok(elf.map_or(Image::Unknown, Image::Elf))
    }

    /// This program.
    pub fn own() -> io::Result<Elf> {
        match Image::of(Path::new("/proc/self/exe"))? {
            Image::Elf(elf) => Ok(elf),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn elf<H: FileHeader<Endian = Endianness>>(data: &ReadCache<File>, bits: u8) -> object::Result<Elf> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let target = Target { bits, machine: header.e_machine(endian), big_endian: endian == Endianness::Big };
    let loader = header.program_headers(endian, data)?.iter().find(|part| part.p_type(endian) == PT_INTERP);
    let loader = match loader {
        Some(part) => part.interpreter(endian, data)?.map(|path| OsStr::from_bytes(path).into()),
        None => None,
    };
    Ok(Elf { target, loader })
}

/// The interpreter in a `#!` line, by the kernel's rules.
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|b| matches!(b, b'\n' | 0)).next()?;
    let path = line.split(|b| matches!(b, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(OsStr::from_bytes(path).into())
}

/// As shells decide it: no NUL in the first line.
fn is_text(start: &[u8]) -> bool {
    !start.split(|b| *b == b'\n').next().unwrap_or_default().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::{Image, interpreter, is_text};
    use std::path::Path;

    #[test]
    fn this_program_has_a_loader() {
        let own = Image::own().unwrap();
        assert!(own.loader.is_some_and(|path| path.exists()));
        assert_eq!(own.target.bits, 64);
    }

    #[test]
    fn interpreters_are_found() {
        for (text, path) in [
            ("#!/bin/sh", "/bin/sh"),
            ("#!/bin/sh -e\nexit", "/bin/sh"),
            ("#! \t/usr/bin/env python3\n", "/usr/bin/env"),
            ("#!sh\n", "sh"),
        ] {
            assert_eq!(interpreter(text.as_bytes()).as_deref(), Some(Path::new(path)), "{text}");
        }
        for text in ["", "#", "#!", "#!  \n/bin/sh", " #!/bin/sh", "exit 3\n"] {
            assert_eq!(interpreter(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn texts_are_told_from_data() {
        assert!(is_text(b"") && is_text(b"exit 3\n\0"));
        assert!(!is_text(b"MZ\0\0\n"));
    }
}
