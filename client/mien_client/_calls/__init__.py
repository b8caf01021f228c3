"""The methods of the client, one file for each kind of thing; `mien_client.Client` is made of them."""
