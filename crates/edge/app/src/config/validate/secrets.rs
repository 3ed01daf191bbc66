//! Values that must not be seen: where they may stand, and how they are read.

use std::path::Path;

use super::Check;
use crate::config::layers::Origin;
use crate::config::units::Secret;

/// A file with more is none that a key of the configuration means.
const LARGEST_FILE: u64 = 1 << 20;

impl Check<'_> {
    /// What a file holds; `None` where none is named or it cannot be read, which is then told.
    pub(super) fn read_file(&mut self, key: &str, path: &str) -> Option<String> {
        if path.is_empty() {
            return None;
        }
        match read_text(Path::new(path)) {
            Ok(text) => Some(text),
            Err(message) => {
                self.wrong(key, message, "the file must be readable for this process");
                None
            }
        }
    }

    /// A secret from its own key or from a file.
    pub(super) fn secret(&mut self, key: &str, own: &Secret, file_key: &str, file: &str) -> Secret {
        if !own.is_empty() && !file.is_empty() {
            self.wrong(
                file_key,
                format!("{key} is set, too"),
                "one of the two says which value is meant",
            );
        }
        self.stays_secret(key, own, file_key);
        match self.read_file(file_key, file) {
            Some(text) => Secret::new(text.trim()),
            None => own.clone(),
        }
    }

    /// Refuses a secret in a file that is meant to be read by many.
    fn stays_secret(&mut self, key: &str, value: &Secret, file_key: &str) {
        let is_url = value.expose().contains("://");
        let is_secret = if is_url {
            has_password(value.expose())
        } else {
            !value.is_empty()
        };
        if is_secret && matches!(self.layers.origin(key), Origin::File { .. }) {
            let variable = format!("FAPO__{}", key.to_uppercase().replace('.', "__"));
            self.wrong(
                key,
                "a secret stands in a configuration file",
                &format!("put it into a file of its own, named by {file_key}; or into {variable}"),
            );
        }
    }

    /// Whether the URL of a server is there and of the right kind. Never says what it is.
    pub(super) fn server_url(&mut self, key: &str, url: &Secret, schemes: &[&str]) {
        let text = url.expose();
        if text.is_empty() {
            self.wrong(
                key,
                "no URL is set",
                &format!("{key}_file names a file that holds it, {}...", schemes[0]),
            );
        } else if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
            self.wrong(
                key,
                "the URL is not of this kind of server",
                &format!("it begins with {}", schemes.join(" or ")),
            );
        }
    }
}

/// Whether a URL holds a password, before its host or among its parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, parameters) = match rest.split_once('?') {
        Some((before, after)) => (before, after),
        None => (rest, ""),
    };
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.split_once(':')
        .is_some_and(|(_, password)| !password.is_empty())
        || parameters
            .split('&')
            .any(|part| part.starts_with("password="))
}

/// A small file's text, or why it cannot be had.
fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let told = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(told)?.len();
    if size > LARGEST_FILE {
        return Err(format!("{shown} is too large to be what is meant"));
    }
    std::fs::read_to_string(path).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_wherever_a_url_may_hold_it() {
        for url in [
            "postgres://fapo:secret@db/fapo",
            "redis://:secret@cache:6379/0",
            "postgres://db/fapo?user=fapo&password=secret",
            "postgres://fapo:p@ss@db/fapo",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in [
            "postgres://fapo@db/fapo",
            "redis://cache:6379/0",
            "unix:///run/redis",
        ] {
            assert!(!has_password(url), "{url}");
        }
    }
}
