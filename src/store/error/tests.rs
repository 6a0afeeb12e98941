use super::*;

fn io(kind: ErrorKind) -> StoreError {
    StoreError::from_redb(Path::new("data/kedgemq.redb"), std::io::Error::from(kind))
}

#[test]
fn errors_are_told_apart_by_what_to_do() {
    let denied = io(ErrorKind::PermissionDenied);
    assert!(matches!(denied, StoreError::Permission { .. }));
    let full = io(ErrorKind::StorageFull);
    assert!(matches!(full, StoreError::NoSpace { .. }));
    let no_database = io(ErrorKind::InvalidData);
    assert!(matches!(no_database, StoreError::Corrupt { .. }));
    let path = Path::new("data/kedgemq.redb");
    let in_use = StoreError::from_redb(path, redb::DatabaseError::DatabaseAlreadyOpen);
    assert!(matches!(in_use, StoreError::InUse { .. }));
    let latched = StoreError::from_redb(path, redb::StorageError::PreviousIo);
    assert!(matches!(latched, StoreError::Io { .. }));
}

#[test]
fn each_error_is_one_line_that_names_the_file() {
    let path = PathBuf::from("data/kedgemq.redb");
    let why = "some reason".to_owned();
    let errors = [
        StoreError::InUse { path: path.clone() },
        StoreError::NewerFormat { path: path.clone(), found: 7 },
        StoreError::Corrupt { path, why },
        io(ErrorKind::PermissionDenied),
        io(ErrorKind::StorageFull),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("data/kedgemq.redb"), "{text}");
        assert!(text.contains(": ") && !text.contains('\n'), "{text}");
    }
}
