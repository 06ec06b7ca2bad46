//! The buffers of a reactor. A connection holds one only while it contains bytes of a request or an answer, so an
//! idle connection costs none, and a busy one reuses memory that is already mapped (the first touch of a page costs
//! more than the copy into it).

use std::cell::RefCell;

use bytes::BytesMut;

/// Size of a fresh buffer: enough for most requests in one read.
pub(super) const CAPACITY_DEFAULT: usize = 16 * 1024;
/// A larger buffer is freed rather than kept.
const CAPACITY_MAX: usize = 2 * 1024 * 1024;
const BUFFERS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: RefCell<Vec<BytesMut>>,
}

impl Buffers {
    pub(super) fn take(&self) -> BytesMut {
        self.free.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(CAPACITY_DEFAULT))
    }

    /// `buffer` must be empty. The memory of requests split off it is reused once they are gone.
    pub(super) fn give_back(&self, mut buffer: BytesMut) {
        debug_assert!(buffer.is_empty(), "a buffer with unread bytes belongs to its connection");
        if buffer.capacity() == 0 {
            return;
        }
        // The view may be a small part of a large allocation: reclaiming shows how large it is.
        let is_too_large = buffer.try_reclaim(CAPACITY_MAX + 1);
        let is_of_use = !is_too_large && buffer.try_reclaim(CAPACITY_DEFAULT);
        let mut free = self.free.borrow_mut();
        if is_of_use && free.len() < BUFFERS_MAX {
            free.push(buffer);
        }
    }
}
