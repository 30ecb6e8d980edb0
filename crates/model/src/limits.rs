//! How large the parts of a log may be.

/// Every limit on what a device may post. Each is a setting of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest `device_id`, in bytes of UTF-8; at least 1 byte is always required.
    pub device_id_bytes: usize,
    /// Longest `message`, in bytes of UTF-8; at least 1 byte is always required.
    pub message_bytes: usize,
    /// Longest `log_data`, in bytes of JSON text as sent (white space counts).
    pub log_data_bytes: usize,
    /// Deepest nesting of objects and arrays in `log_data`; `{}` has depth 1.
    pub log_data_depth: usize,
    /// Longest number in `log_data`, in bytes of JSON text. Its value is limited by what a 64-bit float holds.
    pub number_bytes: usize,
    /// Most logs in one batch; at least 1 is always required.
    pub batch_logs: usize,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            device_id_bytes: 64,
            message_bytes: 16 * 1024,
            log_data_bytes: 64 * 1024,
            log_data_depth: 64,
            number_bytes: 1_000,
            batch_logs: 1_000,
            body_bytes: 8 * 1024 * 1024,
        }
    }
}
