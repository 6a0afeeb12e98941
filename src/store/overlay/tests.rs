use std::fs;

use fastrand::Rng;

use super::*;

/// Reads, writes and changes of the length, beside a plain vector that does the same.
#[test]
fn it_behaves_as_a_file_and_changes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    for seed in 0..50 {
        let mut random = Rng::with_seed(seed);
        let mut model: Vec<u8> = (0..random.usize(0..20_000)).map(|_| random.u8(..)).collect();
        fs::write(&path, &model).unwrap();
        let before = model.clone();
        let overlay = Overlay::open(&path).unwrap();
        for _ in 0..100 {
            let at = random.usize(..=model.len());
            let len = random.usize(0..9_000);
            match random.u8(0..4) {
                0 => {
                    let data: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                    overlay.write(at as u64, &data).unwrap();
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
                1 => {
                    let new = random.usize(0..30_000);
                    overlay.set_len(new as u64).unwrap();
                    model.resize(new, 0);
                }
                _ => {
                    let mut out = vec![1; len];
                    let read = overlay.read(at as u64, &mut out);
                    match model.get(at..at + len) {
                        Some(expected) => assert_eq!(out, expected, "seed {seed}"),
                        None => assert!(read.is_err(), "seed {seed}"),
                    }
                }
            }
            assert_eq!(overlay.len().unwrap(), model.len() as u64, "seed {seed}");
        }
        assert_eq!(fs::read(&path).unwrap(), before, "seed {seed}");
    }
}
