//! Who signed a plugin: detached minisign signatures (ed25519), checked over the bytes that are compiled.
//!
//! The key decision: **what decides what runs is signed, and each file for itself.** `NAME.wasm` needs
//! `NAME.wasm.minisig`. `NAME.toml` grants authority and carries the settings, so where it is there it needs
//! `NAME.toml.minisig`, perhaps by another trusted key: the author signs the plugin, the operator what it may do
//! here. The trusted comment of a signature, which is signed too, names its file (`file:NAME.wasm`, as the
//! minisign program writes it), so that a signed plugin cannot be put in another's place, nor one plugin's
//! manifest beside another. Golden cases are not signed: they can only keep a version from serving.
//!
//! What is checked is what was read into memory, and only that is compiled; the compile cache is asked by the
//! hash of the same bytes. Signatures say what may run, not what must: who may write the folder can still
//! remove a plugin or its manifest, or bring back an older version that was signed.

use std::fmt;
use std::fs;

use minisign_verify::{PublicKey, Signature};

/// What follows a file's whole name in the name of its signature.
pub(crate) const EXTENSION: &str = "minisig";
/// Largest signature file, in bytes; they have about 300.
pub(crate) const FILE_BYTES: u64 = 4_096;

/// A public key whose signatures are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

impl TrustedKey {
    /// Reads a minisign public key: its line of base64, without the comment.
    ///
    /// # Errors
    /// When the text is no such key.
    pub fn parse(text: &str) -> Result<Self, TrustedKeysError> {
        let text = text.trim();
        if is_secret(text) {
            return Err(TrustedKeysError::Secret);
        }
        let wrong = |_| TrustedKeysError::Key { text: text.chars().take(KEY_SHOWN).collect() };
        Ok(Self { text: text.to_owned(), key: PublicKey::from_base64(text).map_err(wrong)? })
    }
}

/// The line of base64.
impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How many characters of what is no key are shown: one may have been damaged, and must not get into logs.
const KEY_SHOWN: usize = 12;
/// How long a public key is in base64: two bytes say the algorithm, eight are the key's id, 32 the key.
const PUBLIC_KEY_CHARS: usize = 56;

/// Whether it is a minisign secret key, of whom more follows after the algorithm `Ed`.
fn is_secret(text: &str) -> bool {
    text.starts_with("RW")
        && text.len() > PUBLIC_KEY_CHARS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// Keys that could not be read. The message says which and what to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedKeysError {
    /// The text is no public key.
    #[error(
        "{text:?} is no minisign public key: it is the second line of the .pub file that `sawpit plugin keygen` makes"
    )]
    Key {
        /// The text, cut.
        text: String,
    },
    /// It is a secret key, which is not shown.
    #[error(
        "this is a secret key: give the public one, from the .pub file that `sawpit plugin keygen` made beside it, and keep \
         the secret one to who signs"
    )]
    Secret,
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A line of the file is no public key.
    #[error("{path}, line {line}: {cause}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        cause: Box<Self>,
    },
    /// There is no key in the file.
    #[error("{path} holds no public key")]
    Empty {
        /// The file.
        path: String,
    },
}

/// What is trusted, and whether a signature is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    /// The keys, in the order in which they were given.
    pub keys: Vec<TrustedKey>,
    /// Whether a file without a signature by one of the keys is refused.
    pub required: bool,
}

impl TrustedKeys {
    /// Reads keys: each of `given` is a public key, or a file of them (one per line; empty lines, lines with
    /// `#` and the comment lines of `.pub` files are skipped).
    ///
    /// # Errors
    /// The first that is neither, and a file without a key.
    pub fn read(given: &[String], required: bool) -> Result<Self, TrustedKeysError> {
        let mut keys = Vec::new();
        for text in given {
            match TrustedKey::parse(text) {
                Ok(key) => keys.push(key),
                Err(TrustedKeysError::Secret) => return Err(TrustedKeysError::Secret),
                Err(_) => keys.extend(keys_of_file(text)?),
            }
        }
        Ok(Self { keys, required })
    }

    /// Which key signed `bytes` as the file called `name`; `signature` is the text of `NAME.minisig`.
    ///
    /// # Errors
    /// Why the signature does not count.
    pub fn verify(
        &self,
        name: &str,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<&TrustedKey, SignatureError> {
        let file = name.to_owned();
        let Some(text) = signature else { return Err(SignatureError::Unsigned { file }) };
        let Ok(signature) = Signature::decode(text) else { return Err(SignatureError::Unreadable { file }) };
        let mut error = SignatureError::UnknownKey { file: file.clone() };
        for key in &self.keys {
            match key.key.verify(bytes, &signature, false) {
                Ok(()) => return named(key, name, signature.trusted_comment()),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(_) => error = SignatureError::Broken { file: file.clone() },
            }
        }
        Err(error)
    }
}

/// The trusted comment is a list of `key:value` between tabs, or whatever else the signer wrote.
fn named<'a>(key: &'a TrustedKey, name: &str, comment: &str) -> Result<&'a TrustedKey, SignatureError> {
    match comment.split('\t').find_map(|part| part.trim().strip_prefix("file:")) {
        Some(said) if said == name => Ok(key),
        said => Err(SignatureError::OtherFile {
            file: name.to_owned(),
            said: said.unwrap_or("none").chars().filter(|c| !c.is_control()).take(80).collect(),
        }),
    }
}

fn keys_of_file(path: &str) -> Result<Vec<TrustedKey>, TrustedKeysError> {
    let text =
        fs::read_to_string(path).map_err(|cause| TrustedKeysError::File { path: path.to_owned(), cause })?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let keys: Vec<TrustedKey> = lines
        .filter(|(_, text)| {
            !text.is_empty() && !text.starts_with('#') && !text.starts_with("untrusted comment:")
        })
        .map(|(line, text)| {
            TrustedKey::parse(text).map_err(|cause| TrustedKeysError::Line {
                path: path.to_owned(),
                line,
                cause: Box::new(cause),
            })
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(TrustedKeysError::Empty { path: path.to_owned() }) } else { Ok(keys) }
}

/// Why a file does not count as signed. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no signature.
    #[error("{file} is not signed: put its signature beside it as {file}.minisig (`sawpit plugin sign`)")]
    Unsigned {
        /// The file.
        file: String,
    },
    /// The signature is no minisign signature.
    #[error("{file}.minisig is no minisign signature, or cut off: sign {file} again")]
    Unreadable {
        /// The signed file.
        file: String,
    },
    /// Signed, by nobody who is trusted here.
    #[error("{file} is signed by a key that is not among the trusted keys (--trusted-keys)")]
    UnknownKey {
        /// The signed file.
        file: String,
    },
    /// The signature is for other bytes, or was changed itself.
    #[error("{file} or its signature was changed after it was signed: get both again from who signed it")]
    Broken {
        /// The signed file.
        file: String,
    },
    /// The signature is right and was made for a file of another name.
    #[error(
        "the signature beside {file} was made for the file {said}: sign it under the name that it has here"
    )]
    OtherFile {
        /// The file.
        file: String,
        /// What the trusted comment names.
        said: String,
    },
}

/// The signatures that were read with a plugin's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signatures {
    pub wasm: Option<String>,
    pub manifest: Option<String>,
}

/// A plugin's files under their names, as they were read. No manifest: `None`.
pub(crate) struct Signed<'a> {
    pub stem: &'a str,
    pub wasm: &'a [u8],
    pub manifest: Option<&'a str>,
    pub signatures: &'a Signatures,
}

impl Signed<'_> {
    /// Which key signed the plugin, after its manifest has been checked, too.
    pub fn by(&self, trusted: &TrustedKeys) -> Result<String, SignatureError> {
        if let Some(manifest) = self.manifest {
            let signature = self.signatures.manifest.as_deref();
            trusted.verify(&format!("{}.toml", self.stem), manifest.as_bytes(), signature)?;
        }
        let signature = self.signatures.wasm.as_deref();
        trusted.verify(&format!("{}.wasm", self.stem), self.wasm, signature).map(ToString::to_string)
    }
}
