# The first lines of config/runtime.exs, after `import Config`: pins first, the own cookie last.
if System.get_env("RELEASE_COMMAND") in ~w(start start_iex daemon daemon_iex) do
  # What does not fit is never shown: an error, or a match that fails, would print cookies.
  {own, pins} =
    with path when is_binary(path) <- System.get_env("ROTATOR_BOOT_FILE"),
         {:ok, terms} <- :file.consult(path),
         {[own: own], pins} <- Enum.split_with(terms, &match?({:own, _}, &1)),
         true <- is_atom(own),
         true <- Enum.all?(pins, &match?({:pin, p, c} when is_atom(p) and is_atom(c), &1)) do
      {own, pins}
    else
      _ -> raise "ROTATOR_BOOT_FILE is not a boot file: did `rotator agent boot` run?"
    end

  if not Node.alive?(), do: raise("distribution is not up: is reboot_system_after_config on?")
  Enum.each(pins, fn {:pin, peer, cookie} -> :erlang.set_cookie(peer, cookie) end)
  :erlang.set_cookie(own)

  # No member knows the decoy. Whoever is connected read it in the process list.
  if Node.list(:connected) != [], do: raise("somebody connected with the decoy cookie")
end
