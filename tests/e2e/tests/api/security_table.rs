//! The tables in SECURITY.md and docs/standards.md name tests that exist.

use std::{fs, path::Path};

/// Directories below which the modules of named tests are.
const ROOTS: [&str; 9] = [
    "tests/e2e/tests/api",
    "tests/e2e/tests/outside",
    "tests/e2e/tests/brokers",
    "tests/e2e/tests",
    "agentwrit-broker/src",
    "agentwrit-tower/tests/it",
    "agentwrit-verify/tests/it",
    "agentwrit-client/tests/it",
    "awrit/src",
];

/// `a::b::c` is the function `c` in `a/b.rs` or `a/b/mod.rs`, or in the module `b` of `a.rs` or `a/mod.rs`.
fn exists(root: &Path, name: &str) -> bool {
    let (module, function) = name.rsplit_once("::").unwrap();
    let path = module.replace("::", "/");
    let inline = path.strip_suffix("/tests").unwrap_or(&path);
    let files = [format!("{path}.rs"), format!("{path}/mod.rs"), format!("{inline}.rs"), format!("{inline}/mod.rs")];
    ROOTS.iter().flat_map(|directory| files.iter().map(move |file| root.join(directory).join(file))).any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains(&format!("fn {function}("))
    })
}

/// Tests that a cell of a table names.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').filter(|text| text.contains("::")).collect()
}

#[test]
fn every_weakness_names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("| weakness |").unwrap();
    let rows: Vec<(&str, &str)> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for (weakness, tests) in rows.iter().filter(|(weakness, _)| !weakness.starts_with("**")) {
        let names = names(tests);
        assert!(!names.is_empty(), "{weakness}: no test");
        for name in names {
            assert!(exists(&root, name), "{weakness}: there is no test `{name}`");
        }
    }
}

#[test]
fn every_clause_of_standards_names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/standards.md")).unwrap();
    let (mut clauses, mut in_table) = (0, false);
    for line in text.lines() {
        if line.starts_with("| clause |") || line.starts_with("| outcome of CSF 2.0 |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !line.starts_with("|--") {
            clauses += 1;
            let (clause, tests) = line.trim_end_matches(" |").rsplit_once(" | ").unwrap();
            let names = names(tests);
            assert!(!names.is_empty(), "{clause}: no test");
            for name in names {
                assert!(exists(&root, name), "{clause}: there is no test `{name}`");
            }
        }
    }
    assert!(clauses > 40, "{clauses}");
}
