//! Lists behind locks that launches and releases need: room in them is made without the lock. Who allocates may have to wait
//! for somebody who was interrupted inside of the allocator, and whose handler waits for a launch. API context.

/// What `lock` locks, with room for one entry more in its `list`.
pub(crate) fn for_one_more<G, T>(lock: impl Fn() -> G, list: impl Fn(&mut G) -> &mut Vec<T>) -> G {
    loop {
        let mut locked = lock();
        let entries = list(&mut locked);
        let len = entries.len();
        if len < entries.capacity() {
            return locked;
        }
        drop(locked);
        let mut more = Vec::with_capacity(2 * len + 16);
        let mut locked = lock();
        let entries = list(&mut locked);
        if entries.len() < more.capacity() {
            more.append(entries);
            core::mem::swap(entries, &mut more);
        }
        drop(locked); // before what it had
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn there_is_always_room_for_one() {
        let list = Mutex::new(Vec::new());
        for i in 0..1000 {
            let mut locked = for_one_more(|| list.lock().unwrap(), |l| l);
            assert!(locked.len() < locked.capacity());
            locked.push(i);
        }
        assert!(list.into_inner().unwrap().into_iter().eq(0..1000));
    }
}
