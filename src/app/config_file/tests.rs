use super::*;

#[test]
fn a_line_belongs_to_the_option_at_or_above_it() {
    let text = "node = \"x\"\n# data = 1\ncert_names = [\n  \"a\",\n]\n\
                [log] # how\nlevel = \"info\"\n[[listener]]\n\naddress = \"1\"\n";
    let table = [
        (1, "node: "),
        (2, "node: "),
        (4, "cert_names: "),
        (6, "log: "),
        (7, "log.level: "),
        (8, "listener: "),
        (10, "listener.address: "),
    ];
    for (number, option) in table {
        assert_eq!(option_at(text, number), option, "line {number}");
    }
    assert_eq!(option_at("", 1), "");
}
