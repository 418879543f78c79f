// Tickets on the wire.
#ifndef MOAI_WIRE_TICKET_PROTO_H_
#define MOAI_WIRE_TICKET_PROTO_H_

#include "proto/transfer.pb.h"
#include "wire/ticket_registry.h"

namespace moai::wire {

inline Ticket TicketFromProto(const proto::Ticket& in) {
  Ticket ticket;
  ticket.id = in.id();
  ticket.object = in.object();
  ticket.bytes = in.bytes();
  ticket.upload = in.upload();
  ticket.expires = std::chrono::seconds(in.expires_seconds());
  ticket.addresses.assign(in.addresses().begin(), in.addresses().end());
  return ticket;
}

inline proto::Ticket ToProto(const Ticket& in) {
  proto::Ticket ticket;
  ticket.set_id(in.id);
  ticket.set_object(in.object);
  ticket.set_bytes(in.bytes);
  ticket.set_upload(in.upload);
  ticket.set_expires_seconds(static_cast<uint32_t>(in.expires.count()));
  for (const std::string& address : in.addresses) ticket.add_addresses(address);
  return ticket;
}

}  // namespace moai::wire

#endif  // MOAI_WIRE_TICKET_PROTO_H_
