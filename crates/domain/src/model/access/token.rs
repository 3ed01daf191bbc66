//! The text of a token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Credential, Role, TokenRecord};
use crate::clock::Timestamp;
use crate::hash::ContentHash;

/// What every token begins with, so that a scanner for leaked secrets knows one where it sees it.
const PREFIX: &str = "fapo_";
/// Digits of the public part.
const ID_DIGITS: usize = 16;
/// Characters of the secret part.
const SECRET_CHARACTERS: usize = 43;

/// A token that was just made: `fapo_<16 hex digits>_<43 characters of base64url>`. Its text is shown once and kept nowhere;
/// what is stored is [`NewToken::record`].
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    id: String,
    secret: Credential,
}

impl NewToken {
    /// Random bytes that a token takes: 8 of its id, 32 of its secret.
    pub const RANDOM_BYTES: usize = 40;

    /// Makes a token of random bytes, which must come from the system's own source.
    pub fn from_random(random: [u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(8);
        let id = hex::encode(id);
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        Self {
            id,
            secret: Credential::new(text),
        }
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole text. To be shown to whoever asked for it, once.
    pub fn text(&self) -> &str {
        self.secret.expose()
    }

    /// The row to be stored.
    pub fn record(
        &self,
        name: String,
        project: Option<String>,
        role: Role,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> TokenRecord {
        TokenRecord {
            id: self.id.clone(),
            hash: Some(ContentHash::of(self.text().as_bytes())),
            name,
            project,
            role,
            created_at,
            expires_at,
            revoked_at: None,
        }
    }

    /// The hash to look a token up by; `None` where `text` has not the form of one, so that nothing need be asked.
    pub fn hash_of(text: &str) -> Option<ContentHash> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let whole = id.len() == ID_DIGITS
            && id.bytes().all(hex)
            && secret.len() == SECRET_CHARACTERS
            && secret.bytes().all(base64url);
        whole.then(|| ContentHash::of(text.as_bytes()))
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_form_and_is_found_by_the_hash_of_its_text() {
        let token = NewToken::from_random([0xfb; NewToken::RANDOM_BYTES]);
        assert_eq!(token.id(), "fbfbfbfbfbfbfbfb");
        let secret = token.text().strip_prefix("fapo_fbfbfbfbfbfbfbfb_").unwrap();
        assert_eq!(secret.len(), SECRET_CHARACTERS);
        let record = token.record("ci".to_owned(), None, Role::Viewer, Timestamp(1), None);
        assert_eq!(record.hash, NewToken::hash_of(token.text()));
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn what_has_not_the_form_of_a_token_has_no_hash_to_look_up() {
        let text = NewToken::from_random([7; NewToken::RANDOM_BYTES])
            .text()
            .to_owned();
        for bad in [
            "",
            "fapo_",
            &text[1..],
            &text[..text.len() - 1],
            &text.replace("fapo_07", "fapo_0G"),
            &format!("{text}="),
        ] {
            assert_eq!(NewToken::hash_of(bad), None, "{bad}");
        }
    }
}
