use super::*;

fn next(buffer: &Buffer) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = buffer.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Heads, payloads and a tail, and the bytes that they are.
fn mixed() -> (Buffer, Vec<u8>) {
    let mut buffer = Buffer::default();
    for head in [b"head1 ".as_slice(), b"head2 "] {
        buffer.append(|bytes| bytes.extend(head));
        buffer.share(Bytes::from_static(b"payload "));
    }
    buffer.append(|bytes| bytes.extend(b"tail"));
    (buffer, b"head1 payload head2 payload tail".to_vec())
}

#[test]
fn an_empty_buffer_owns_nothing() {
    let mut buffer = Buffer::default();
    assert!(buffer.is_empty());
    buffer.append(|bytes| bytes.extend(b"abc"));
    buffer.advance(3);
    assert_eq!((buffer.len(), buffer.tail.capacity()), (0, 0));
    buffer.append(|_| {});
    assert_eq!(buffer.tail.capacity(), 0);
}

#[test]
fn writes_can_end_anywhere() {
    for step in 1..=mixed().1.len() {
        let (mut buffer, whole) = mixed();
        let mut seen: Vec<u8> = Vec::new();
        while !buffer.is_empty() {
            assert_eq!(buffer.len(), whole.len() - seen.len());
            let next = next(&buffer);
            let count = step.min(next.len());
            seen.extend(&next[..count]);
            buffer.advance(count);
        }
        assert_eq!(seen, whole, "in steps of {step}");
    }
}

#[test]
fn many_chunks_take_several_writes() {
    let mut buffer = Buffer::default();
    for _ in 0..2 * SLICES {
        buffer.share(Bytes::from_static(b"x"));
    }
    assert_eq!(next(&buffer).len(), SLICES);
    buffer.advance(SLICES);
    assert_eq!(next(&buffer).len(), SLICES);
    buffer.advance(SLICES);
    assert!(buffer.is_empty());
}

#[test]
fn spare_memory_is_bounded_in_bytes() {
    let kept = || POOL.with_borrow(|pool| (pool.spare.len(), pool.bytes));
    for _ in 0..100 {
        recycle(Vec::with_capacity(FIRST_CAPACITY));
    }
    assert_eq!(kept(), (100, 100 * FIRST_CAPACITY), "small pieces for many outboxes");
    recycle(Vec::with_capacity(2 * SPARE_CAPACITY));
    assert_eq!(kept().0, 100, "it is too large");
    for _ in 0..100 {
        recycle(Vec::with_capacity(SPARE_CAPACITY));
    }
    assert!(kept().1 <= SPARE);
    while kept().0 > 0 {
        assert!(spare().is_empty());
    }
    assert_eq!(kept().1, 0);
}
