//! `awrit completion` is another name of `awrit completions`.

use agentwrit_e2e::awrit;

#[tokio::test]
async fn completion_prints_what_completions_prints() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let run = awrit(directory.path(), &[], &["completion", shell], "").await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        assert_eq!(run.stdout, awrit(directory.path(), &[], &["completions", shell], "").await.stdout, "{shell}");
    }
}
