//! libFuzzer around the target that `MILLRACE_FUZZ_TARGET` names. libFuzzer owns `main` and the arguments.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<&fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("MILLRACE_FUZZ_TARGET").unwrap_or_default();
    fuzz::target(&name).expect("MILLRACE_FUZZ_TARGET names a target")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
