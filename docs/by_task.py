"""The members of a class, grouped by task, for the directive ``by-task`` of the reference.

``TASKS`` is the one list for all classes, since the same call has the same name everywhere. Each
class gets a table of what it has, in which every member is linked, and below it the members that
its public bases do not describe already.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import trio_xsock

TASKS = {
    "Open and close": """
        connect listen bind accept serve may_stop run from_socket start_tls register unregister
        send_eof disconnect stop_listening aclose close stopping start_soon
    """,
    "Send": """
        send_all write send_file send write_to send_message send_message_to_group
        send_message_to_individual flush abort_send wait_send_all_might_not_block
        bytes_sent bytes_left_to_send packets_left_to_send
    """,
    "Receive": """
        receive_some receive_exactly receive_until lines receive_file receive wait_for_message
        wait_for_connection read read_all lookahead purge bytes_available bytes_received
        packets_available
        messages_available packets_dropped_by_system end_of_file at_eof poll
    """,
    "Who is there": """
        get_member_list update_member_list active_connections join_multicast_group
        leave_multicast_group
    """,
    "Events": "events subscribe handler",
    "State": """
        state is_connected is_listening last_error statistics handle
        local_address local_port remote_address remote_port broadcast_address group
        ssl_connecting ssl_connected tls_version cipher peer_certificate peer_certificate_der
        selected_alpn_protocol socket getsockopt setsockopt
    """,
    "Options": """
        address port network_interface bind_address bind_port name metadata
        receive_buffer_limit send_buffer_limit progress_interval receive_packet_limit
        max_message_size allow_half_close keepalive unacknowledged_timeout idle_timeout
        router_hops send_to_self heartbeat_interval expiry
        minimum_sockets_available maximum_sockets_connected maximum_handshakes
        proxy_protocol trusted_proxies
    """,
    "Options for TLS": """
        tls ssl_enabled ssl_connection_type ssl_context verify ca_file certificate_file
        certificate_password certificate_rejection_file require_client_certificate
        server_hostname alpn_protocols handshake_timeout https_compatible
    """,
}
"""What one wants to do, and the members for it, in the order of use."""


def members(owner: type) -> list[str]:
    """The public members of a class."""
    return [name for name in dir(owner) if not name.startswith("_")]


def groups(owner: type) -> Iterator[tuple[str, list[str]]]:
    """The tasks for which a class has members, and these."""
    left = set(members(owner))
    for task, names in TASKS.items():
        found = [name for name in names.split() if name in left]
        if found:
            yield task, found
            left.difference_update(found)
    if left:
        yield "More", sorted(left)


def described_by(owner: type, name: str) -> type:
    """The public class whose entry describes this member: the last one that changed it.

    A member whose docstring only refers to that of a base (``See ...``) is described there.
    """
    value = inspect.getattr_static(owner, name)
    refers = (getattr(value, "__doc__", None) or "").startswith("See ``")
    found = owner
    for base in owner.__mro__[1:]:
        public = getattr(trio_xsock, base.__name__, None) is base
        other = inspect.getattr_static(base, name, None)
        if public and other is not None and (refers or other is value):
            found = base
    return found


def first_sentence(owner: type, name: str) -> str:
    """The first line of a member's docstring."""
    value = inspect.getattr_static(owner, name)
    text = inspect.getdoc(getattr(value, "__func__", value)) or ""
    return text.partition("\n")[0].replace("``", "`").replace("`", "``")


def lines(owner: type) -> Iterator[str]:
    """The table and the entries, in reStructuredText."""
    yield from (".. list-table::", "   :widths: 35 65", "   :class: by-task", "")
    for task, names in groups(owner):
        yield from (f"   * - **{task}**", "     -")
        for name in names:
            value = inspect.getattr_static(owner, name)
            role = "meth" if callable(getattr(value, "__func__", value)) else "attr"
            holder = described_by(owner, name).__name__
            yield f"   * - :py:{role}:`~trio_xsock.{holder}.{name}`"
            yield f"     - {first_sentence(owner, name)}"
    yield ""
    for task, names in groups(owner):
        own = [name for name in names if described_by(owner, name) is owner]
        if own:
            yield from (f".. rubric:: {task}", "")
        for name in own:
            value = inspect.getattr_static(owner, name)
            is_call = callable(getattr(value, "__func__", value))
            kind = "method" if is_call else "property"
            if not is_call and not isinstance(value, property):
                kind = "attribute"
            yield from (f".. auto{kind}:: trio_xsock.{owner.__name__}.{name}", "")
