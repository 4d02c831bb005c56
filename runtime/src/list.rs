//! A growing list that never calls the allocator, for what a program may do in a signal handler that has interrupted malloc:
//! mmap(2), munmap(2), aio_return(3). Its memory is reserved at first use and touched as it grows.

use crate::addr::{HostAddr, PAGE};
use crate::error::{Error, Result};
use crate::sys::map::{self, Prot};
use core::marker::PhantomData;

/// The list. Elements are plain values.
pub struct List<T: Copy> {
    base: usize,
    len: usize,
    most: usize,
    what: &'static str,
    of: PhantomData<T>,
}

impl<T: Copy> List<T> {
    /// An empty list for at most `most` elements; `what` it is, for errors.
    pub const fn new(most: usize, what: &'static str) -> List<T> {
        List { base: 0, len: 0, most, what, of: PhantomData }
    }

    /// The elements.
    pub fn all(&self) -> &[T] {
        if self.base == 0 {
            return &[];
        }
        // SAFETY: our own mapping, page-aligned, whose first `len` elements were written.
        unsafe { core::slice::from_raw_parts(HostAddr(self.base).ptr().cast(), self.len) }
    }

    /// The elements, to be changed.
    pub fn all_mut(&mut self) -> &mut [T] {
        if self.base == 0 {
            return &mut [];
        }
        // SAFETY: as above; the list is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(HostAddr(self.base).ptr().cast(), self.len) }
    }

    /// Makes sure that `more` elements can be inserted.
    pub fn make_room(&mut self, more: usize) -> Result<()> {
        let bytes = self.most * size_of::<T>();
        if self.base == 0 {
            let at = map::map(bytes.next_multiple_of(PAGE), PAGE, Prot::ReadWrite, self.what)?;
            self.base = at.0;
        }
        if self.len + more > self.most {
            return Err(Error::NoMemory { what: self.what, bytes });
        }
        Ok(())
    }

    /// Inserts at `index`, where there is room.
    ///
    /// # Panics
    /// If there is none.
    pub fn insert(&mut self, index: usize, value: T) {
        assert!(index <= self.len && self.len < self.most && self.base != 0);
        self.len += 1;
        let all = self.all_mut();
        let last = all.len() - 1;
        all.copy_within(index..last, index + 1);
        all[index] = value;
    }

    /// Removes `count` elements from `index` on.
    pub fn remove(&mut self, index: usize, count: usize) {
        self.all_mut().copy_within(index + count.., index);
        self.len -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_as_a_vector(steps in proptest::collection::vec((any::<bool>(), any::<usize>(), any::<u32>()), 0..200)) {
            let (mut list, mut model) = (List::<u32>::new(64, "a list"), Vec::new());
            for (insert, at, value) in steps {
                if insert {
                    prop_assert_eq!(list.make_room(1).is_ok(), model.len() < 64);
                    if model.len() < 64 {
                        let at = at % (model.len() + 1);
                        list.insert(at, value);
                        model.insert(at, value);
                    }
                } else if !model.is_empty() {
                    let at = at % model.len();
                    let count = value as usize % (model.len() - at + 1);
                    list.remove(at, count);
                    model.drain(at..at + count);
                }
                prop_assert_eq!(list.all(), &model[..]);
            }
            map::unmap(HostAddr(list.base), if list.base == 0 { 0 } else { PAGE });
        }
    }
}
