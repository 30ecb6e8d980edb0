//! The files of a plugin, as they are read.

use std::io::{self, Read};
use std::path::Path;

use crate::files::open_regular;
use crate::signature::{self, SignatureError, Signatures, Signed};
use crate::{LoadError, Manifest, RuntimeSettings, component, golden};

/// A file as read, with the texts of its manifest and its golden cases.
pub(crate) struct Source {
    pub file: String,
    pub wasm: Vec<u8>,
    pub manifest: String,
    pub cases: String,
    has_manifest: bool,
    signatures: Signatures,
}

impl Source {
    /// Reads the wasm, the manifest and the cases beside it, and refuses what is not signed where that is
    /// required.
    pub fn read(wasm: &Path, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let source = Self::read_unchecked(wasm, settings)?;
        if settings.trusted.required {
            source.signed_by(settings)?;
        }
        Ok(source)
    }

    /// The same for a file that somebody names: where it is no WebAssembly, what lies beside it is no manifest either, and
    /// need not be complained of.
    pub fn read_named(wasm: &Path, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let source = Self::read(wasm, settings)?;
        component::check_kind(&source.wasm)?;
        Ok(source)
    }

    /// The same whoever signed it; a missing manifest, like missing cases, is empty.
    pub fn read_unchecked(wasm: &Path, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let beside = |extension: &str, limit| read_text(&wasm.with_extension(extension), limit);
        let (limit, remedy) = (settings.manifest_bytes, "shorten it, or raise --plugin-manifest-bytes");
        let manifest = beside("toml", Limit { bytes: limit, remedy })?;
        let (limit, remedy) = (settings.cases_bytes, "take cases out of it, or raise --plugin-cases-bytes");
        let cases = beside(golden::CASES_EXTENSION, Limit { bytes: limit, remedy })?.unwrap_or_default();
        let remedy = "that is no signature, so sign the plugin again";
        let signature = |signed| {
            let limit = Limit { bytes: signature::FILE_BYTES, remedy };
            beside(&format!("{signed}.{}", signature::EXTENSION), limit)
        };
        let signatures = Signatures { wasm: signature("wasm")?, manifest: signature("toml")? };
        let file = wasm.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let remedy = "strip it, or raise --plugin-file-bytes";
        let wasm = read_limited(wasm, Limit { bytes: settings.file_bytes, remedy })?;
        let has_manifest = manifest.is_some();
        Ok(Self { file, wasm, manifest: manifest.unwrap_or_default(), cases, has_manifest, signatures })
    }

    /// The files as they were read, by name; none: there was none.
    pub fn files(&self) -> [(String, Option<&[u8]>); 5] {
        let stem = self.stem();
        [
            (format!("{stem}.toml"), self.has_manifest.then_some(self.manifest.as_bytes())),
            (self.cases_file(), Some(self.cases.as_bytes())),
            (
                format!("{stem}.wasm.{}", signature::EXTENSION),
                self.signatures.wasm.as_deref().map(str::as_bytes),
            ),
            (
                format!("{stem}.toml.{}", signature::EXTENSION),
                self.signatures.manifest.as_deref().map(str::as_bytes),
            ),
            // Last: it is by this file that a version is there.
            (self.file.clone(), Some(&self.wasm)),
        ]
    }

    /// The stem that a file of a plugin's files has; none for a name that none of them has.
    pub fn stem_of(name: &str) -> Option<&str> {
        let name =
            name.strip_suffix(signature::EXTENSION).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
        let cases = name.strip_suffix(golden::CASES_EXTENSION).and_then(|name| name.strip_suffix('.'));
        cases.or_else(|| name.strip_suffix(".wasm")).or_else(|| name.strip_suffix(".toml"))
    }

    /// Whether there is any signature, whatever it is worth.
    pub const fn is_signed(&self) -> bool {
        self.signatures.wasm.is_some() || self.signatures.manifest.is_some()
    }

    /// Which trusted key signed what was read.
    pub fn signed_by(&self, settings: &RuntimeSettings) -> Result<String, SignatureError> {
        let manifest = self.has_manifest.then_some(self.manifest.as_str());
        let signed = Signed { stem: self.stem(), wasm: &self.wasm, manifest, signatures: &self.signatures };
        signed.by(&settings.trusted)
    }

    /// Of the cases: they decide whether a version serves, and are no part of what it does.
    pub fn cases_hash(&self) -> blake3::Hash {
        blake3::hash(self.cases.as_bytes())
    }

    /// Over wasm and manifest: what a version does.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.wasm.len() as u64).to_le_bytes());
        hasher.update(&self.wasm).update(self.manifest.as_bytes());
        hasher.finalize().to_hex().chars().take(16).collect()
    }

    pub fn stem(&self) -> &str {
        self.file.strip_suffix(".wasm").unwrap_or(&self.file)
    }

    /// The name of its file of golden cases.
    pub fn cases_file(&self) -> String {
        format!("{}.{}", self.stem(), golden::CASES_EXTENSION)
    }

    pub fn manifest(&self, settings: &RuntimeSettings) -> Result<Manifest, LoadError> {
        let file = format!("{}.toml", self.stem());
        Ok(Manifest::parse(&file, &self.manifest, settings)?)
    }
}

/// How large a file may be, and what to do where it is larger.
#[derive(Clone, Copy)]
struct Limit {
    bytes: u64,
    remedy: &'static str,
}

/// `None` where there is no such file.
fn read_text(path: &Path, limit: Limit) -> Result<Option<String>, LoadError> {
    let bytes = match read_limited(path, limit) {
        Err(LoadError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    String::from_utf8(bytes).map(Some).map_err(|error| LoadError::Read {
        path: path.to_owned(),
        cause: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

fn read_limited(path: &Path, Limit { bytes: limit, remedy }: Limit) -> Result<Vec<u8>, LoadError> {
    let wrong = |cause| LoadError::Read { path: path.to_owned(), cause: clearer(path, cause) };
    let mut bytes = Vec::new();
    open_regular(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(wrong)?;
    if bytes.len() as u64 <= limit {
        return Ok(bytes);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(LoadError::TooLarge { file, limit, remedy })
}

/// What the system says does not tell of these what to do.
fn clearer(path: &Path, cause: io::Error) -> io::Error {
    let text = match cause.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => "it is a link, and what it leads to is not there",
        io::ErrorKind::InvalidFilename => "the name is too long: give the plugin a shorter one",
        _ => return cause,
    };
    io::Error::new(cause.kind(), text)
}
