%% A real node of the demonstration and of the tests, in one of two modes.
%%
%% member:   calls random peers all the time, and counts calls, failed calls and lost links.
%% intruder: knows one cookie, stays linked to every member or comes back, reads every cookie
%%           that it can reach, and tries each of them.
%%
%% It is asked over a socket of loopback that is not distribution, so whoever asks needs no cookie.
%% A request is one line, "KEY COMMAND ARGUMENT...", and so is the answer, in JSON; the key is in
%% the node's directory, which is the one plain argument. Cookies leave as SHA-256 alone. The node
%% ends when its standard input does, so nothing survives whoever started it.
-module(mesh).
-behaviour(gen_server).

-export([member/0, intruder/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(CALL_TIMEOUT, 5000).
-define(READ_TIMEOUT, 1000).
-define(TICK, 50).
-define(KEPT, 1000).

member() -> start(member).

intruder() ->
    logger:set_primary_config(level, none),
    start(intruder).

start(Mode) ->
    [Directory] = init:get_plain_arguments(),
    {ok, _} = gen_server:start({local, ?MODULE}, ?MODULE, {Mode, Directory}, []),
    ok.

%% --- links, counted from the first moment ------------------------------------------------------

init({Mode, Directory}) ->
    ok = net_kernel:monitor_nodes(true, [{node_type, all}, nodedown_reason]),
    ?MODULE = ets:new(?MODULE, [named_table, public]),
    ets:insert(?MODULE, [{calls, 0}, {failed, 0}, {lost, 0}, {peers, []}, {expected, []}, {pause, off}]),
    [Table = ets:new(Table, [named_table, public, ordered_set]) || Table <- [losses, failures, entered, seen, tries]],
    known = ets:new(known, [named_table, public]),
    Input = open_port({fd, 0, 0}, [in, eof, binary]),
    listen(Directory),
    case Mode of
        member -> spawn_link(fun caller/0);
        intruder -> remember(erlang:get_cookie())
    end,
    {ok, Input}.

handle_info({nodedown, Node, Info}, Input) ->
    Type = proplists:get_value(node_type, Info),
    case Type =:= visible andalso not is_expected(Node) of
        true ->
            note(losses, Node, proplists:get_value(nodedown_reason, Info)),
            ets:update_counter(?MODULE, lost, 1);
        false ->
            ok
    end,
    {noreply, Input};
handle_info({Input, eof}, Input) ->
    erlang:halt(0);
handle_info(_, Input) ->
    {noreply, Input}.

handle_call(_, _, Input) -> {reply, ok, Input}.

handle_cast(_, Input) -> {noreply, Input}.

is_expected(Node) -> lists:member(Node, value(expected)).

value(Name) -> ets:lookup_element(?MODULE, Name, 2).

note(Table, Node, Why) ->
    Text = string:slice(io_lib:format("~0p", [Why]), 0, 200),
    Event = #{node => Node, at => now_ms(), why => unicode:characters_to_binary(Text)},
    ets:info(Table, size) < ?KEPT andalso ets:insert(Table, {erlang:unique_integer([monotonic]), Event}).

now_ms() -> erlang:system_time(millisecond).

%% --- calls ---------------------------------------------------------------------------------------

%% A peer without a link is a failed call, and is not called: that would mend what is measured.
caller() ->
    case value(pause) of
        off ->
            timer:sleep(?TICK);
        Pause ->
            timer:sleep(Pause),
            case [Peer || Peer <- value(peers), not is_expected(Peer)] of
                [] -> ok;
                Peers -> call(any_of(Peers))
            end
    end,
    caller().

any_of(List) -> lists:nth(rand:uniform(length(List)), List).

call(Peer) ->
    Outcome =
        try lists:member(Peer, nodes(connected)) andalso erpc:call(Peer, erlang, node, [], ?CALL_TIMEOUT) of
            Peer -> ok;
            false -> no_link
        catch
            Class:Reason -> {Class, Reason}
        end,
    case {Outcome, is_expected(Peer)} of
        {ok, _} ->
            ets:update_counter(?MODULE, calls, 1);
        {_, true} ->
            ok;
        {Why, false} ->
            note(failures, Peer, Why),
            ets:update_counter(?MODULE, calls, 1),
            ets:update_counter(?MODULE, failed, 1)
    end.

%% --- the intruder --------------------------------------------------------------------------------

stalk(Member) ->
    case lists:member(Member, nodes(connected)) of
        true ->
            ets:insert(seen, {Member, now_ms()}),
            catch learn(Member);
        false ->
            lists:any(fun(Cookie) -> enter(Member, Cookie) end, newest_first())
    end,
    timer:sleep(?TICK),
    stalk(Member).

enter(Member, Cookie) ->
    ets:update_counter(tries, Member, 1, {Member, 0}),
    erlang:set_cookie(Member, Cookie),
    case net_kernel:connect_node(Member) of
        true ->
            ets:insert(entered, {Member, now_ms()}),
            ets:insert(seen, {Member, now_ms()}),
            true;
        _ ->
            false
    end.

%% What a member uses, for itself and for each peer, and what one of its peers uses.
learn(Member) ->
    remember(erpc:call(Member, erlang, get_cookie, [], ?READ_TIMEOUT)),
    {state, _, Table} = erpc:call(Member, sys, get_state, [auth], ?READ_TIMEOUT),
    [remember(Cookie) || {_, Cookie} <- erpc:call(Member, ets, tab2list, [Table], ?READ_TIMEOUT)],
    Linked = erpc:call(Member, erlang, nodes, [connected], ?READ_TIMEOUT),
    case [Peer || Peer <- value(peers), lists:member(Peer, Linked)] of
        [] ->
            ok;
        Peers ->
            Through = [any_of(Peers), erlang, get_cookie, [], ?READ_TIMEOUT],
            remember(erpc:call(Member, erpc, call, Through, 2 * ?READ_TIMEOUT))
    end.

remember(Cookie) -> ets:insert_new(known, {Cookie, erlang:unique_integer([monotonic])}).

newest_first() -> [Cookie || {Cookie, _} <- lists:reverse(lists:keysort(2, ets:tab2list(known)))].

%% --- questions -----------------------------------------------------------------------------------

listen(Directory) ->
    {ok, Text} = file:read_file(filename:join(Directory, "control.key")),
    Options = [binary, {ip, {127, 0, 0, 1}}, {packet, line}, {active, false}, {buffer, 65536}, {reuseaddr, true}],
    {ok, Socket} = gen_tcp:listen(0, Options),
    {ok, Port} = inet:port(Socket),
    Place = filename:join(Directory, "control.port"),
    ok = file:write_file(Place ++ ".new", integer_to_list(Port)),
    ok = file:rename(Place ++ ".new", Place),
    Key = string:trim(Text),
    spawn_link(fun() -> accept(Socket, Key) end).

accept(Socket, Key) ->
    {ok, Client} = gen_tcp:accept(Socket),
    Server = spawn(fun() -> receive go -> serve(Client, Key) end end),
    ok = gen_tcp:controlling_process(Client, Server),
    Server ! go,
    accept(Socket, Key).

serve(Client, Key) ->
    case gen_tcp:recv(Client, 0) of
        {ok, Line} ->
            case string:lexemes(string:trim(Line), " ") of
                [Key, Command | Arguments] ->
                    Names = [binary_to_list(Argument) || Argument <- Arguments],
                    gen_tcp:send(Client, [json(answer(Command, Names)), $\n]),
                    serve(Client, Key);
                _ ->
                    gen_tcp:close(Client)
            end;
        {error, _} ->
            gen_tcp:close(Client)
    end.

answer(<<"links">>, []) ->
    #{connected => nodes(connected), visible => nodes(), hidden => nodes(hidden)};
answer(<<"connect">>, [Peer]) ->
    #{connected => net_kernel:connect_node(list_to_atom(Peer)) =:= true};
answer(<<"cut">>, [Peer]) ->
    #{cut => erlang:disconnect_node(list_to_atom(Peer)) =:= true};
answer(<<"distribute">>, []) ->
    %% Only where distribution was not begun by an argument may it be stopped.
    Name = node(),
    ok = net_kernel:stop(),
    {ok, _} = net_kernel:start([Name, longnames]),
    #{};
answer(<<"counts">>, []) ->
    #{
        calls => value(calls),
        failed => value(failed),
        lost => value(lost),
        losses => events(losses),
        failures => events(failures)
    };
answer(<<"peers">>, Peers) ->
    Nodes = [list_to_atom(Peer) || Peer <- Peers],
    ets:insert(?MODULE, {peers, Nodes}),
    #{};
answer(<<"stalk">>, Members) ->
    Nodes = [list_to_atom(Member) || Member <- Members],
    ets:insert(?MODULE, {peers, Nodes}),
    [spawn(fun() -> stalk(Node) end) || Node <- Nodes],
    #{};
answer(<<"calls">>, ["off"]) ->
    ets:insert(?MODULE, {pause, off}),
    #{};
answer(<<"calls">>, [Pause]) ->
    ets:insert(?MODULE, {pause, list_to_integer(Pause)}),
    #{};
answer(<<"expect_down">>, Peers) ->
    ets:insert(?MODULE, {expected, lists:usort(value(expected) ++ [list_to_atom(Peer) || Peer <- Peers])}),
    #{};
answer(<<"expect_up">>, Peers) ->
    ets:insert(?MODULE, {expected, value(expected) -- [list_to_atom(Peer) || Peer <- Peers]}),
    #{};
answer(<<"cookies">>, []) ->
    Rows = [{Peer, sha256(Cookie)} || {Peer, Cookie} <- ets:tab2list(pins())],
    #{own => sha256(erlang:get_cookie()), rows => maps:from_list(Rows)};
answer(<<"set_cookie">>, [File]) ->
    #{set => erlang:set_cookie(read_cookie(File))};
answer(<<"pin">>, [Peer, File]) ->
    #{set => erlang:set_cookie(list_to_atom(Peer), read_cookie(File))};
answer(<<"intrusion">>, []) ->
    #{
        links => nodes(connected),
        cookies => [sha256(Cookie) || {Cookie, _} <- ets:tab2list(known)],
        entered => maps:from_list(ets:tab2list(entered)),
        seen => maps:from_list(ets:tab2list(seen)),
        tries => maps:from_list(ets:tab2list(tries))
    };
answer(_, _) ->
    #{error => unknown_command}.

events(Table) -> [Event || {_, Event} <- ets:tab2list(Table)].

%% The table is named, but not a named table: it has to be looked for.
pins() ->
    Owner = whereis(auth),
    [Table] = [T || T <- ets:all(), ets:info(T, name) =:= cookies, ets:info(T, owner) =:= Owner],
    Table.

read_cookie(File) ->
    {ok, Text} = file:read_file(File),
    binary_to_atom(string:trim(Text)).

sha256(Cookie) ->
    string:lowercase(binary:encode_hex(crypto:hash(sha256, atom_to_binary(Cookie)))).

json(Map) when is_map(Map) ->
    Pairs = [[json(Name), $:, json(Value)] || {Name, Value} <- maps:to_list(Map)],
    [${, lists:join($,, Pairs), $}];
json(List) when is_list(List) -> [$[, lists:join($,, [json(Item) || Item <- List]), $]];
json(Number) when is_integer(Number) -> integer_to_list(Number);
json(Truth) when is_boolean(Truth) -> atom_to_list(Truth);
json(Name) when is_atom(Name) -> json(atom_to_binary(Name));
json(Text) when is_binary(Text) -> [$", [escape(Character) || <<Character>> <= Text], $"].

escape($") -> "\\\"";
escape($\\) -> "\\\\";
escape(Character) when Character < 32 -> $\s;
escape(Character) -> Character.
