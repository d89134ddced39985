// The subcommands that ask a monitor or read a file. Each prints to the console and returns the exit code:
// 0 well, 1 a clear no (with a sentence on stderr).
#pragma once

#include "app/console.h"
#include "app/flags.h"

namespace defib::app {

// Look.
int cmd_agents(const AgentsFlags& flags, const Console& console);
int cmd_agent(const AgentFlags& flags, const Console& console);
int cmd_why(const WhyFlags& flags, const Console& console);
int cmd_incidents(const IncidentsFlags& flags, const Console& console);
int cmd_events(const EventsFlags& flags, const Console& console);

// Act.
int cmd_recover(const RecoverFlags& flags, const Console& console);
int cmd_incident_wish(const IncidentWishFlags& flags, const Console& console);
// Silent when it went well: cron mails whatever is printed.
int cmd_ping(const PingFlags& flags, const Console& console);

int cmd_check_config(const CheckConfigFlags& flags, const Console& console);
int cmd_version(const Console& console);

// "defib: MESSAGE" on stderr; returns 1.
int say_no(const Console& console, std::string_view message);

}  // namespace defib::app
