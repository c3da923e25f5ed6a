/*
 * echo_asio: echo on standalone Asio.   echo_asio [ADDRESS:PORT [WORKERS]]
 *
 * Callbacks; an io_context a thread, told that one thread runs it. A handler holds one pointer, so that its memory
 * comes from Asio's recycling allocator.
 */
#include "peer.h"

#include <asio.hpp>

using asio::ip::tcp;

namespace
{

class Connection
{
  public:
    explicit Connection(tcp::socket socket) : socket(std::move(socket))
    {
        peer_no_delay(this->socket.native_handle());
        read();
    }

  private:
    void read()
    {
        socket.async_read_some(asio::buffer(buf), [this](std::error_code error, size_t n) {
            if (error)
                delete this;
            else
                write(n);
        });
    }

    void write(size_t n)
    {
        asio::async_write(socket, asio::buffer(buf, n), [this](std::error_code error, size_t) {
            if (error)
                delete this;
            else
                read();
        });
    }

    tcp::socket socket;
    char buf[PEER_BUFFER];
};

void accept(tcp::acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](std::error_code error, tcp::socket socket) {
        if (!error)
            new Connection(std::move(socket)); /* its own owner: it goes when an operation fails */
        accept(acceptor);
    });
}

void *work(void *listener)
{
    asio::io_context context(1);
    tcp::acceptor acceptor(context);
    acceptor.assign(tcp::v4(), *static_cast<int *>(listener));
    accept(acceptor);
    context.run();
    return nullptr;
}

} // namespace

int main(int argc, char **argv)
{
    struct peer peer = peer_listen(argc, argv);
    peer_run(&peer, work);
}
