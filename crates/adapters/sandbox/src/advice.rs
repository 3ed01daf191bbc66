//! What a person can do where no sandbox can be had.

use std::path::Path;

/// What to do about it, as far as the kernel's settings tell.
pub(crate) fn advice(why: &str) -> String {
    let setting = |name: &str| std::fs::read_to_string(Path::new("/proc/sys").join(name));
    let is = |name: &str, value: &str| setting(name).is_ok_and(|text| text.trim() == value);
    let mend = if why.contains("not installed") {
        "install bubblewrap (the package is called so everywhere)"
    } else if is("kernel/unprivileged_userns_clone", "0") {
        "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
    } else if is("user/max_user_namespaces", "0") {
        "allow user namespaces: sysctl user.max_user_namespaces=15000"
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap"
    } else {
        "bubblewrap 0.8 or later is needed, and user namespaces; inside a container, one that may make them \
         (docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
    };
    format!(
        "{why}; {mend}; or set FAPO_SANDBOX=off to run without one, which docs/sandbox.md says what it means"
    )
}
