//! What the calls' arguments are made of: the fuzzer's bytes, in order. When they are used up, every choice is the first.

/// Numbers that arithmetic goes wrong with.
const WILD: [usize; 14] = [
    usize::MAX,
    usize::MAX - 1,
    usize::MAX - 4095,
    usize::MAX - 4096,
    usize::MAX - (2 << 20),
    isize::MAX as usize,
    isize::MAX as usize + 1,
    isize::MAX as usize - 4095,
    1 << 63,
    1 << 48,
    1 << 47,
    (1 << 47) - 4096,
    1 << 62,
    0x8000_0000_0001,
];

pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`, which is at most 256.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Yes, once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(super) fn number(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    pub(super) fn wild(&mut self) -> usize {
        (WILD[self.below(WILD.len())] - 1).saturating_add(self.below(3))
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
