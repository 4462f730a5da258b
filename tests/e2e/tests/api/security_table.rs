//! The table in SECURITY.md names tests that exist.

use std::{fs, path::Path};

/// `a::b::c` is the function `c` in `a/b.rs` or `a/b/mod.rs`, or in the module `b` of `a.rs` or `a/mod.rs`.
fn exists(root: &Path, name: &str) -> bool {
    let (module, function) = name.rsplit_once("::").unwrap();
    let path = module.replace("::", "/");
    let inline = path.strip_suffix("/tests").unwrap_or(&path);
    [format!("{path}.rs"), format!("{path}/mod.rs"), format!("{inline}.rs"), format!("{inline}/mod.rs")].iter().any(
        |file| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            text.contains(&format!("fn {function}("))
        },
    )
}

#[test]
fn every_weakness_names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("| weakness |").unwrap();
    let rows: Vec<(&str, &str)> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for (weakness, tests) in rows.iter().filter(|(weakness, _)| !weakness.starts_with("**")) {
        let names: Vec<&str> = tests.split('`').filter(|text| text.contains("::")).collect();
        assert!(!names.is_empty(), "{weakness}: no test");
        for name in names {
            let roots = [
                "tests/e2e/tests/api",
                "tests/e2e/tests/outside",
                "tests/e2e/tests/brokers",
                "agentwrit-broker/src",
                "agentwrit-tower/tests/it",
                "agentwrit-verify/tests/it",
                "awrit/src",
            ];
            let found = roots.iter().any(|directory| exists(&root.join(directory), name));
            assert!(found, "{weakness}: there is no test `{name}`");
        }
    }
}
