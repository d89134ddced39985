// The one unit that compiles Asio's and Beast's bodies (separate compilation).
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
