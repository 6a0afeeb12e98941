use super::*;

fn contents(buffer: &Buffer) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = buffer.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
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
    let mut whole = Vec::new();
    let mut buffer = Buffer::default();
    for part in [b"head1 ".as_slice(), b"head2 "] {
        buffer.append(|bytes| bytes.extend(part));
        buffer.share(Bytes::from_static(b"payload "));
        whole.extend([part, b"payload "].concat());
    }
    buffer.append(|bytes| bytes.extend(b"tail"));
    whole.extend(b"tail");
    for step in 1..=whole.len() {
        let mut rest = Buffer::default();
        std::mem::swap(&mut rest, &mut buffer);
        let mut seen: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest.len(), whole.len() - seen.len());
            let next = contents(&rest);
            let count = step.min(next.len());
            seen.extend(&next[..count]);
            rest.advance(count);
        }
        assert_eq!(seen, whole, "in steps of {step}");
        for part in [b"head1 ".as_slice(), b"head2 "] {
            buffer.append(|bytes| bytes.extend(part));
            buffer.share(Bytes::from_static(b"payload "));
        }
        buffer.append(|bytes| bytes.extend(b"tail"));
    }
}

#[test]
fn many_chunks_take_several_writes() {
    let mut buffer = Buffer::default();
    for _ in 0..2 * SLICES {
        buffer.share(Bytes::from_static(b"x"));
    }
    assert_eq!(contents(&buffer).len(), SLICES);
    buffer.advance(SLICES);
    assert_eq!(contents(&buffer).len(), SLICES);
    buffer.advance(SLICES);
    assert!(buffer.is_empty());
}
