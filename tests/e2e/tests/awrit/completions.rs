//! `awrit completions`.

use std::process::Command;

use agentwrit_e2e::awrit;

#[tokio::test]
async fn prints_script_for_each_shell() {
    let directory = tempfile::tempdir().unwrap();
    for (shell, expected) in [
        ("bash", "complete -F _awrit -o nosort -o bashdefault -o default awrit"),
        ("zsh", "#compdef awrit"),
        ("fish", "complete -c awrit"),
        ("elvish", "set edit:completion:arg-completer[awrit]"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName 'awrit'"),
    ] {
        let run = awrit(directory.path(), &[], &["completions", shell], "").await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        assert!(run.stdout.contains(expected), "{shell}: {}", run.stdout);
        assert!(run.stdout.contains("launch-token"), "{shell}");
    }
    assert_eq!(awrit(directory.path(), &[], &["completions", "tcsh"], "").await.code, 2);
}

#[tokio::test]
async fn bash_completes_commands_with_its_script() {
    let directory = tempfile::tempdir().unwrap();
    let script = awrit(directory.path(), &[], &["completions", "bash"], "").await.stdout;
    let script =
        format!("{script}\nCOMP_WORDS=(awrit re); COMP_CWORD=1; _awrit awrit re awrit; echo \"${{COMPREPLY[*]}}\"");
    // The script is longer than one argument may be.
    std::fs::write(directory.path().join("script.sh"), script).unwrap();
    let output = Command::new("bash").arg(directory.path().join("script.sh")).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "revoke revocations");
}
