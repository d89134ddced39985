// `defib monitor`: reads the file, lays the flags over it, and runs the daemon until it is told to end.
#pragma once

#include "app/flags.h"

namespace defib::app {

// 0: ended as asked. 1: could not start, or could not go on; stderr says why. 2: the file or a flag is wrong.
int cmd_monitor(const MonitorFlags& flags);

}  // namespace defib::app
