//! echo_tokio: echo on tokio: a task a connection.   echo_tokio [ADDRESS:PORT [WORKERS]]
//!
//! One worker is the current_thread runtime, more are the multi_thread one.
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{signal, SignalKind};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = [0u8; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                tokio::spawn(echo(stream));
            }
            Err(error) => eprintln!("echo_tokio: {error}"),
        }
    }
}

async fn serve(address: String) -> io::Result<()> {
    let listener = TcpListener::bind(&address).await?;
    let mut end = signal(SignalKind::terminate())?;
    println!("echo: listening on {}", listener.local_addr()?);
    tokio::spawn(accept(listener)); // on a worker, not on the thread that waits for the signal
    end.recv().await;
    std::process::exit(0)
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let address = args.get(1).cloned().unwrap_or_else(|| "127.0.0.1:7777".into());
    let workers = args.get(2).map_or(Ok(1), |text| text.parse::<usize>()).unwrap_or(0);
    if workers < 1 || args.len() > 3 {
        eprintln!("usage: echo_tokio [ADDRESS:PORT [WORKERS]]");
        std::process::exit(2);
    }
    let runtime = match workers {
        1 => Builder::new_current_thread().enable_all().build()?,
        n => Builder::new_multi_thread().worker_threads(n).enable_all().build()?,
    };
    runtime.block_on(serve(address))
}
