//! Just enough of Redis's protocol (RESP2) to send one command and read its whole answer as text.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends `words` and returns the answer: `+OK`, `:3` and `-ERR …` as they come, a string as its content, a nil
/// as `(nil)`, an array as one line per element.
pub(crate) fn ask(address: SocketAddr, words: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream))
}

fn read(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end();
    match line.as_bytes().first() {
        Some(b'$') => read_string(reader, count(line)?),
        Some(b'*') => {
            let elements: io::Result<Vec<String>> =
                (0..count(line)?.unwrap_or(0)).map(|_| read(reader)).collect();
            Ok(elements?.join("\n"))
        }
        Some(_) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_string(reader: &mut impl BufRead, length: Option<usize>) -> io::Result<String> {
    let Some(length) = length else { return Ok("(nil)".to_owned()) };
    let mut text = vec![0; length + 2];
    reader.read_exact(&mut text)?;
    text.truncate(length);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The number after the type's sign; `None` for -1, which stands for nil.
fn count(line: &str) -> io::Result<Option<usize>> {
    let number: i64 = line.get(1..).unwrap_or_default().parse().map_err(io::Error::other)?;
    Ok(usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_answer() {
        let check = |wire: &str, text: &str| assert_eq!(read(&mut wire.as_bytes()).unwrap(), text);
        check("+OK\r\n", "+OK");
        check("-ERR no\r\n", "-ERR no");
        check("$4\r\na\r\nb\r\n", "a\r\nb");
        check("$-1\r\n", "(nil)");
        check("*2\r\n$1\r\na\r\n*1\r\n:7\r\n", "a\n:7");
        check("*0\r\n", "");
        assert!(read(&mut "".as_bytes()).is_err());
    }
}
