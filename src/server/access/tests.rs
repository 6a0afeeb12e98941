use std::sync::RwLock;

use super::*;
use crate::auth::password::{Passwords, hash_line};

fn passwords() -> RwLock<Arc<Passwords>> {
    let (passwords, problems) = Passwords::parse(&hash_line("ada", b"secret", &[7; 12], 101));
    assert!(problems.is_empty());
    RwLock::new(Arc::new(passwords))
}

/// What a listener says, by words, of a client that shows `name:user:password`.
async fn admission(listener: &str, client: &str) -> (Option<String>, Admission) {
    let has = |word| listener.split_whitespace().any(|other| other == word);
    let access = Access {
        anonymous: has("anonymous"),
        passwords: has("passwords").then(passwords),
        common_name_as_user: has("cn"),
        certificate_required: has("certificate"),
    };
    let shown: Vec<&str> = client.split(':').collect();
    let some = |text: &str| (text != "-").then(|| text.to_owned());
    let credentials = Credentials {
        common_name: some(shown[0]),
        user_name: some(shown[1]),
        password: some(shown[2]).map(String::into_bytes),
    };
    let identity = identify(&access, credentials, &Semaphore::new(1)).await;
    let user = identity.user.map(|user| user.to_string());
    (user, identity.admission)
}

#[tokio::test]
async fn who_is_admitted_as_whom() {
    let table = "
        anonymous           | -:-:-          | -       | yes
        anonymous           | -:ada:x        | ada     | yes
                            | -:-:-          | -       | nobody
                            | -:ada:secret   | -       | nobody
        passwords           | -:ada:secret   | ada     | yes
        passwords           | -:ada:wrong    | -       | wrong
        passwords           | -:ada:-        | -       | wrong
        passwords           | -:eve:secret   | -       | wrong
        passwords           | -:-:-          | -       | nobody
        passwords anonymous | -:-:-          | -       | yes
        passwords anonymous | -:ada:wrong    | -       | wrong
        cn certificate      | dev:-:-        | dev     | yes
        cn certificate      | dev:ada:wrong  | dev     | yes
        cn certificate      | -:-:-          | -       | nobody
        cn passwords        | -:ada:secret   | ada     | yes
        certificate         | dev:-:-        | -       | yes
        certificate         | dev:ada:-      | ada     | yes
        certificate passwords | dev:-:-      | -       | nobody
    ";
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let (user, admission) = admission(columns[0], columns[1]).await;
        assert_eq!(user.as_deref().unwrap_or("-"), columns[2], "{line}");
        let expected = match columns[3] {
            "yes" => Admission::Granted,
            "wrong" => Admission::BadUserNameOrPassword,
            _ => Admission::NotAuthorized,
        };
        assert_eq!(admission, expected, "{line}");
    }
}

#[tokio::test]
async fn a_new_password_file_counts_from_the_next_client_on() {
    let access = Access {
        anonymous: false,
        passwords: Some(passwords()),
        common_name_as_user: false,
        certificate_required: false,
    };
    access.set_passwords(Arc::default());
    let credentials = Credentials {
        common_name: None,
        user_name: Some("ada".to_owned()),
        password: Some(b"secret".to_vec()),
    };
    let identity = identify(&access, credentials, &Semaphore::new(1)).await;
    assert_eq!(identity.admission, Admission::BadUserNameOrPassword);
}
